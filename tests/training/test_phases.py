"""Plans on disk, and plans whose steps release layers while a phase runs."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from bowerbird import storage
from bowerbird.errors import Interrupted, RunError
from bowerbird.models.cuts import INPUT
from bowerbird.training.interrupts import StopSignal
from bowerbird.training.loop import Phase
from bowerbird.training.phases import PhasePlan, Step, read_plan
from training.toys import (
    STEPS,
    Facts,
    Ladder,
    Values,
    climb,
    gone_on,
    run,
    same,
    scripted,
    values,
    without_times,
)

HEAD = {"head.weight", "head.bias"}
LATE = {"late.weight", "late.bias"}
EARLY = {"early.weight", "early.bias"}


def test_steps_of_a_plan() -> None:
    plan = PhasePlan("head", "c", "cached", 8, 1e-3, frozen=("x",), later=(Step(3, "b", "b", "i"),))
    assert plan.steps == (Step(0, "head", "c", "cached", ("x",)), Step(3, "b", "b", "i"))
    assert [plan.step_at(epoch) for epoch in range(8)] == [0, 0, 0, 1, 1, 1, 1, 1]
    assert PhasePlan("all", "c", "cached", 8, 1e-3).step_at(7) == 0


def test_a_plan_comes_back_from_its_file(tmp_path: Path) -> None:
    plans = [
        PhasePlan("head", "drop", "cached", 6, 1e-3, frozen=("a.b",), later=STEPS, soup=(1, 4)),
        PhasePlan("all layers", INPUT, "images", 3, 0.1 + 0.2, "bfloat16", "trained", 2, 7.5),
    ]
    file = tmp_path / "plan.json"
    storage.write_json(file, [plan.to_dict() for plan in plans])
    assert read_plan(file) == plans


@pytest.mark.parametrize("text", ["", "{", "[{}]", "3", "[3]", '[{"name": 1}]', '{"a": 1}', "null"])
def test_a_damaged_plan(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(RunError, match=r"plan\.json can't be read .* Delete it to plan anew"):
        read_plan(tmp_path / "plan.json")


def test_a_step_that_is_damaged(tmp_path: Path) -> None:
    (plan,) = [PhasePlan("head", "drop", "cached", 6, 1e-3, later=STEPS).to_dict()]
    plan["later"][0]["colour"] = "red"
    (tmp_path / "plan.json").write_text(json.dumps([plan]))
    with pytest.raises(RunError, match="can't be read"):
        read_plan(tmp_path / "plan.json")


# Steps of one phase


def watched(phase: Phase) -> list[Values]:
    """The layers before the phase and after every epoch."""
    seen = [values(phase.whole)]
    close = phase._close_epoch

    def closed(facts: Facts) -> None:
        close(facts)
        seen.append(values(phase.whole))

    phase._close_epoch = closed  # type: ignore[method-assign]
    return seen


def changed(before: Values, after: Values) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lamb", "lion"])
def test_each_step_trains_its_layers_and_no_others(optimizer: str, tmp_path: Path) -> None:
    phase = climb(tmp_path, optimizer=optimizer, weight_decay=0.3)
    seen = watched(phase)
    facts = run(phase)
    found = [changed(one, other) for one, other in itertools.pairwise(seen)]
    assert found == [HEAD, HEAD, HEAD | LATE, HEAD | LATE, *[HEAD | LATE | EARLY] * 2]
    names = [row["step_name"] for row in facts["rows"]]
    assert names == ["head", "head", "from late", "from late", "all layers", "all layers"]


def test_parameters_after_the_cut_can_stay_frozen(tmp_path: Path) -> None:
    """Neither trained nor decayed; and a later step may release them."""
    later = (
        Step(1, "from late.bias", "tanh", "cached", ("late.weight",)),
        Step(2, "from late", "tanh", "cached"),
    )
    phase = climb(tmp_path, epochs=3, later=later, optimizer="adamw", weight_decay=0.3)
    seen = watched(phase)
    run(phase)
    found = [changed(one, other) for one, other in itertools.pairwise(seen)]
    assert found == [HEAD, HEAD | {"late.bias"}, HEAD | LATE]


def test_frozen_layers_have_no_optimizer_state(tmp_path: Path) -> None:
    phase = climb(tmp_path, optimizer="adamw")
    names = {parameter: name for name, parameter in phase.whole.named_parameters()}
    found: list[set[str]] = []
    close = phase._close_epoch

    def closed(facts: Facts) -> None:
        found.append({names[parameter] for parameter in phase.optimizer.state})
        close(facts)

    phase._close_epoch = closed  # type: ignore[method-assign]
    run(phase)
    assert found == [HEAD, HEAD, HEAD | LATE, HEAD | LATE, *[HEAD | LATE | EARLY] * 2]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_release_leaves_the_optimizer_as_it_was(optimizer: str, tmp_path: Path) -> None:
    """The momentum of what was already training, to the bit."""
    phase = climb(tmp_path, optimizer=optimizer)
    take_up = phase._at
    released: list[int] = []

    def state() -> dict[tuple[int, str], torch.Tensor]:
        every = phase.optimizer.state_dict()["state"]
        return {
            (index, key): torch.as_tensor(value).clone()
            for index, kept in every.items()
            for key, value in kept.items()
        }

    def taken(number: int) -> None:
        before = state()
        new = number != phase._number
        take_up(number)
        after = state()
        assert before.keys() == after.keys()
        assert all(torch.equal(value, after[key]) for key, value in before.items())
        if new:
            assert before, "nothing had been trained"
            released.append(number)

    phase._at = taken  # type: ignore[method-assign]
    run(phase)
    assert released == [1, 2]


def test_rates_are_the_schedules_times_the_steps_share(tmp_path: Path) -> None:
    facts = run(climb(tmp_path, epochs=6, rate=0.1, schedule="constant", warmup=0.0))
    rates = [row["learning_rate"] for row in facts["rows"]]
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.1, 0.1])  # the last step's share is 1


def test_layers_further_from_the_head_learn_slower(tmp_path: Path) -> None:
    phase = climb(tmp_path, rate=0.1, layer_decay=0.5, schedule="constant", warmup=0.0)
    run(phase)
    names = {parameter: name for name, parameter in phase.whole.named_parameters()}
    found = {
        names[parameter]: group["lr"]
        for group in phase.optimizer.param_groups
        for parameter in group["params"]
    }
    shares = {**dict.fromkeys(HEAD, 1), **dict.fromkeys(LATE, 0.5), **dict.fromkeys(EARLY, 0.25)}
    assert found == pytest.approx({name: 0.1 * share for name, share in shares.items()})


def test_the_schedule_goes_through_all_steps(tmp_path: Path) -> None:
    facts = run(climb(tmp_path, epochs=6, rate=0.1, warmup=0.0, later=[STEPS[1]]))
    last = [7 * epoch + 6 for epoch in range(6)]  # 50 rows, 8 a step
    expected = [0.05 * (1 + math.cos(math.pi * (step - 1) / 41)) for step in last]  # one warms up
    assert [row["learning_rate"] for row in facts["rows"]] == pytest.approx(expected)


def test_only_the_last_step_stops_early(tmp_path: Path) -> None:
    phase, seen = climb(tmp_path, epochs=20, patience=3), list[Values]()
    scripted(phase, [(0.9, 0.1), *[(0.5, 1.0)] * 20], seen)
    facts = run(phase)
    assert len(facts["rows"]) == 8  # four before the last step, its first, and three no better
    assert same(values(phase.whole), seen[0])


def test_what_a_late_step_makes_worse_is_not_kept(tmp_path: Path) -> None:
    phase, seen = climb(tmp_path), list[Values]()
    scripted(phase, [(0.1, 1), (0.2, 1), (0.3, 1), (0.8, 1), (0.7, 1), (0.1, 1), (0.2, 1)], seen)
    assert run(phase)["best"]["epoch"] == 3
    assert same(values(phase.whole), seen[3])
    assert changed(seen[0], seen[3]) == HEAD | LATE


def test_each_piece_is_made_once_and_when_it_is_needed(tmp_path: Path) -> None:
    """Features of a deep cut are of the layers as they are when it is released."""
    pieces: list[int] = []
    phase = climb(tmp_path, pieces=pieces)
    at: list[list[int]] = []
    close = phase._close_epoch

    def closed(facts: Facts) -> None:
        at.append(list(pieces))
        close(facts)

    phase._close_epoch = closed  # type: ignore[method-assign]
    run(phase)
    assert at == [[0], [0], [0, 1], [0, 1], [0, 1, 2], [0, 1, 2]]
    assert pieces == [0, 1, 2]


def test_a_release_changes_no_score(tmp_path: Path) -> None:
    """Whatever the cut, what is validated is the whole network."""
    phase = climb(tmp_path)
    run(phase)
    scores = []
    for number in range(3):
        phase._at(number)
        scores.append(phase.validate())
    for score in scores[1:]:
        assert score == pytest.approx(scores[0], rel=1e-6)


MIXED: dict[str, dict[str, Any]] = {
    "plain": {},
    "all of it": {"ema": 0.8, "accumulate": 2, "batch_size": 8, "soup": 3, "clip_norm": 0.5},
    "adam": {"optimizer": "adam", "mixup": 0.4, "schedule": "one-cycle"},
    "plateau": {"optimizer": "sgd", "nesterov": True, "schedule": "plateau", "decay_epochs": 1},
}


@pytest.mark.parametrize("name", MIXED)
def test_interrupted_at_every_step_it_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    steps = (dataclasses.replace(STEPS[0], epoch=1), dataclasses.replace(STEPS[1], epoch=2))
    settings = {"batch_size": 16, "epochs": 4, "later": steps} | MIXED[name]
    (tmp_path / "whole").mkdir()
    loads: list[int] = []
    ladder = Ladder(0.3)
    whole = climb(tmp_path / "whole", ladder=ladder, hook=loads.append, **settings)
    expected = run(whole)
    assert len(expected["rows"]) == 4
    for load in loads[:: 1 if name == "all of it" else 3]:
        folder = tmp_path / str(load)
        folder.mkdir()
        stop = StopSignal()
        hook = lambda n, load=load, stop=stop: stop.receive() if n == load else None  # noqa: E731
        victim = climb(folder, ladder=Ladder(0.3), hook=hook, stop=stop, **settings)
        try:
            run(victim)
        except Interrupted:
            pass
        else:
            assert load > max(loads) - 2, f"not stopped at load {load}"
        torch.rand(3)  # another process has another generator
        again = Ladder(0.3)
        phase = climb(folder, ladder=again, **settings)
        facts = gone_on(phase)
        assert without_times(facts) == without_times(expected), f"stopped at load {load}"
        assert facts["best"] == expected["best"]
        assert same(values(again), values(ladder)), f"stopped at load {load}"


@pytest.mark.parametrize("last", [1, 2, 3, 5, 6])
def test_a_refit_that_ends_within_a_step(last: int, tmp_path: Path) -> None:
    for name in ("whole", "short"):
        (tmp_path / name).mkdir()
    whole, seen = climb(tmp_path / "whole", validated=False), list[Values]()
    seen = watched(whole)
    run(whole)
    plan = dataclasses.replace(whole.plan, stop_after=last)
    short = climb(tmp_path / "short", validated=False, plan=plan)
    facts = run(short)
    assert len(facts["rows"]) == last
    assert same(values(short.whole), seen[last])


def test_without_a_finite_loss_in_a_late_step_the_earlier_ones_are_kept(tmp_path: Path) -> None:
    later = (dataclasses.replace(STEPS[1], epoch=2, share=1e32),)
    phase = climb(tmp_path, later=later)
    seen = watched(phase)
    facts = run(phase)
    assert 2 <= len(facts["rows"]) < 6
    best = facts["best"]["within"]
    assert best in (0, 1, 2)
    assert same(values(phase.whole), seen[best])
