from __future__ import annotations

import csv
import dataclasses
import io
import math
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bowerbird import progress
from bowerbird.config import TrainConfig
from bowerbird.errors import Interrupted, RunError
from bowerbird.training.batches import Rows, order
from bowerbird.training.checkpoint import load_checkpoint
from bowerbird.training.interrupts import StopSignal
from bowerbird.training.loop import Phase
from training.toys import (
    Facts,
    Values,
    clouds,
    gone_on,
    layers,
    make,
    run,
    same,
    scripted,
    values,
    without_times,
)


def test_it_learns(tmp_path: Path) -> None:
    phase = make(tmp_path, epochs=8)
    before = phase.validate()
    facts = run(phase)
    after = phase.validate()
    assert after == (facts["best"]["accuracy"], facts["best"]["loss"])
    assert after[0] > 0.7 > before[0]
    assert facts["rows"][-1]["train_loss"] < facts["rows"][0]["train_loss"]


def test_validation_is_accuracy_and_mean_cross_entropy(tmp_path: Path) -> None:
    phase = make(tmp_path)
    held, truth = clouds(30, seed=1)
    with torch.inference_mode():
        shares = torch.softmax(phase.piece.judge.eval()(held), dim=1)
    right = (shares.argmax(dim=1).numpy() == truth).mean()
    loss = -shares[torch.arange(30), torch.from_numpy(truth)].log().mean()
    assert phase.validate() == pytest.approx((right, float(loss)))


def test_history_rows(tmp_path: Path) -> None:
    reports: list[list[Facts]] = []
    facts = run(make(tmp_path, epochs=3, report=lambda rows: reports.append(list(rows))))
    assert [len(rows) for rows in reports] == [1, 2, 3]
    assert reports[-1] == facts["rows"]
    assert [row["epoch"] for row in facts["rows"]] == [1, 2, 3]
    for row in facts["rows"]:
        assert row["phase"] == "finetune"
        assert row["step_name"] == "all"
        assert 0 <= row["train_accuracy"] <= 1
        assert 0 <= row["val_accuracy"] <= 1


def test_epochs_are_counted_on_from_earlier_phases(tmp_path: Path) -> None:
    phase = make(tmp_path, epochs=2)
    facts = phase.run(phase.start({"rows": [{"phase": "finetune", "epoch": 1}]}))
    assert [row["epoch"] for row in facts["rows"]] == [1, 2, 3]


def test_the_best_epoch_is_restored(tmp_path: Path) -> None:
    phase, seen = make(tmp_path, epochs=4), []
    scripted(phase, [(0.5, 1.0), (0.6, 1.0), (0.9, 1.0), (0.7, 1.0), (0.9, 1.0)], seen)
    facts = run(phase)
    assert facts["best"] == {"accuracy": 0.9, "loss": 1.0, "epoch": 2, "within": 2}
    assert same(values(phase.piece.judge), seen[2])
    assert not same(seen[2], seen[4])
    assert not phase.piece.judge.training


def test_among_equal_accuracies_the_lower_loss_is_better(tmp_path: Path) -> None:
    phase, seen = make(tmp_path, epochs=3), []
    scripted(phase, [(0.5, 1.0), (0.8, 0.6), (0.8, 0.4), (0.8, 0.5)], seen)
    assert run(phase)["best"]["epoch"] == 2
    assert same(values(phase.piece.judge), seen[2])


def test_a_phase_cannot_end_below_its_start(tmp_path: Path) -> None:
    phase, seen = make(tmp_path, epochs=3), []
    scripted(phase, [(0.9, 0.2), (0.5, 1.0), (0.6, 1.0), (0.9, 0.3)], seen)
    assert run(phase)["best"]["epoch"] == 0
    assert same(values(phase.piece.judge), seen[0])


def test_it_stops_early(tmp_path: Path) -> None:
    phase, seen = make(tmp_path, epochs=20, patience=2), []
    scripted(phase, [(0.5, 1.0), (0.6, 1.0), (0.4, 1.0), (0.7, 1.0), *[(0.7, 1.0)] * 9], seen)
    facts = run(phase)
    assert [row["epoch"] for row in facts["rows"]] == [1, 2, 3, 4, 5]
    assert facts["best"]["epoch"] == 3


def test_it_goes_on_while_it_comes_back_to_where_it_began(tmp_path: Path) -> None:
    phase, seen = make(tmp_path, epochs=20, patience=2), []
    rising = [(0.9, 0.2), *[(0.3 + 0.05 * n, 1.0) for n in range(10)], *[(0.5, 1.0)] * 9]
    scripted(phase, rising, seen)
    assert [row["epoch"] for row in run(phase)["rows"]] == list(range(1, 13))


def test_without_validation_the_last_layers_stay(tmp_path: Path) -> None:
    phase = make(tmp_path, epochs=3, validated=False, patience=1)
    start = values(phase.piece.judge)
    facts = run(phase)
    assert len(facts["rows"]) == 3
    assert not any(name.startswith("val") for name in facts["rows"][0])
    assert not same(values(phase.piece.judge), start)
    saved = load_checkpoint(tmp_path / "last.safetensors")
    assert saved is not None
    assert all(
        torch.equal(value, saved.tensors[f"model.{name}"])
        for name, value in values(phase.piece.learner).items()
    )


def test_a_loss_that_is_not_finite_stops_the_phase(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with progress.log_to(log):
        phase = make(tmp_path, epochs=5, rate=1e30)
        start = phase.validate()
        facts = run(phase)
    assert phase.validate() >= start
    assert all(torch.isfinite(value).all() for value in phase.piece.judge.state_dict().values())
    assert len(facts["rows"]) < 5
    assert "learning rate 1e+30 is probably too high" in log.read_text()
    assert "--learning-rate" in log.read_text()


def test_layers_that_score_nothing_but_nan_are_never_the_best(tmp_path: Path) -> None:
    """All NaN is class 0 to argmax, and may be right more often than what was there."""
    phase, seen = make(tmp_path, epochs=2), []
    scripted(phase, [(0.2, 1.0), (0.4, math.nan), (0.3, 0.9)], seen)
    assert run(phase)["best"] == {"accuracy": 0.3, "loss": 0.9, "epoch": 2, "within": 2}


def test_batch_norm_keeps_its_statistics_and_learns_its_scale(tmp_path: Path) -> None:
    module = layers()
    before = values(module)
    run(make(tmp_path, module=module))
    after = values(module)
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert torch.equal(before[name], after[name])
    assert not torch.equal(before["1.weight"], after["1.weight"])


def test_batch_norm_learns_its_statistics_from_random_weights(tmp_path: Path) -> None:
    module = layers()
    run(make(tmp_path, module=module, batch_norm="trained"))
    assert int(values(module)["1.num_batches_tracked"]) > 0


@pytest.mark.parametrize(("count", "steps"), [(16, 2), (17, 2), (18, 3), (7, 1)])
def test_a_last_batch_of_one_has_no_statistics(tmp_path: Path, count: int, steps: int) -> None:
    phase = make(tmp_path, batch_norm="trained", rows=clouds(count), epochs=1)
    facts = run(phase)
    assert phase.steps == steps
    assert math.isfinite(facts["rows"][0]["train_loss"])


def test_the_rate_follows_the_schedule_over_all_epochs(tmp_path: Path) -> None:
    facts = run(make(tmp_path, epochs=2, rate=0.05, warmup=0.25))  # 14 steps, 4 of them warm-up
    last = [0.05 * 0.5 * (1 + math.cos(math.pi * (step - 4) / 10)) for step in (6, 13)]
    assert [row["learning_rate"] for row in facts["rows"]] == pytest.approx(last)


def test_class_weights_shift_the_decision(tmp_path: Path) -> None:
    rows, _ = clouds(60)
    noise = torch.zeros_like(rows)
    targets = np.array([0] * 48 + [1] * 6 + [2] * 6)
    shares = []
    for number, weights in enumerate((None, torch.tensor([20 / 48, 20 / 6, 20 / 6]))):
        folder = tmp_path / str(number)
        folder.mkdir()
        phase = make(
            folder, rows=(noise, targets), weights=weights, validated=False, epochs=30,
            label_smoothing=0.0, weight_decay=0.0, patience=99,
        )  # fmt: skip
        run(phase)
        with torch.inference_mode():
            shares.append(torch.softmax(phase.piece.judge(noise[:1]), dim=1)[0].tolist())
    assert shares[0] == pytest.approx([0.8, 0.1, 0.1], abs=0.05)
    assert shares[1] == pytest.approx([1 / 3] * 3, abs=0.08)


def test_the_sampler_shows_rare_classes_as_often(tmp_path: Path) -> None:
    rows, _ = clouds(48)
    phase = make(tmp_path, rows=(rows, np.array([0] * 46 + [1, 2])), balance="sampler", epochs=1)
    seen: list[int] = []
    load = phase.piece.batches.load

    def watched(chosen: Rows, epoch: int) -> torch.Tensor:
        seen.extend(phase.truth.train[chosen].tolist())
        return load(chosen, epoch)

    phase.piece.batches.load = watched  # type: ignore[method-assign]
    run(phase)
    assert np.bincount(seen).min() > 8


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"balance": "sampler"},
        {"mixup": 0.4, "cutmix": 1.0},
        {"dropout": 0.5},
        {"batch_norm": "trained", "patience": 1},
    ],
    ids=["plain", "sampler", "mixed", "dropout", "statistics"],
)
def test_interrupted_at_every_step_it_goes_on_to_the_same_bits(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    dropout = settings.pop("dropout", 0.0)
    whole = make(tmp_path / "whole", module=layers(dropout), epochs=2, **settings)
    (tmp_path / "whole").mkdir()
    expected, steps = run(whole), whole.steps * 2
    assert len(expected["rows"]) == 2
    for step in range(steps):
        folder = tmp_path / str(step)
        folder.mkdir()
        facts, module = _stopped_and_resumed(folder, step, dropout, settings)
        assert without_times(facts) == without_times(expected), f"stopped at step {step}"
        assert same(values(module), values(whole.piece.judge)), f"stopped at step {step}"


def _stopped_and_resumed(
    folder: Path, step: int, dropout: float, settings: dict[str, Any]
) -> tuple[Facts, nn.Module]:
    stop = StopSignal()
    hook = lambda load: stop.receive() if load == step else None  # noqa: E731
    with pytest.raises(Interrupted):
        run(make(folder, module=layers(dropout), epochs=2, hook=hook, stop=stop, **settings))
    torch.rand(step + 1)  # another process has another generator
    module = layers(dropout)
    phase = make(folder, module=module, epochs=2, **settings)
    return gone_on(phase), module


def test_dropout_takes_nothing_from_the_global_generator(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    run(make(tmp_path, module=layers(0.5), epochs=1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_dropout_differs_from_step_to_step(tmp_path: Path) -> None:
    module = layers(0.5)
    masks: list[torch.Tensor] = []
    module[3].register_forward_hook(  # type: ignore[index,operator]
        lambda layer, given, out: masks.append(out != 0) if layer.training else None
    )
    run(make(tmp_path, module=module, epochs=1, rate=1e-12))
    assert len(masks) == 7
    assert not torch.equal(masks[0], masks[1])


def test_a_finished_phase_is_not_trained_again(tmp_path: Path) -> None:
    phase = make(tmp_path, epochs=2)
    facts = run(phase)
    expected = values(phase.piece.judge)
    again = make(tmp_path, epochs=2, hook=lambda load: pytest.fail("it loads a batch"))
    assert without_times(gone_on(again)) == without_times(facts)
    assert same(values(again.piece.judge), expected)


def test_history_survives_csv(tmp_path: Path) -> None:
    """Figures are written so that reading gives them back exactly."""
    facts = run(make(tmp_path, epochs=1))
    text = io.StringIO()
    writer = csv.DictWriter(text, facts["rows"][0])
    writer.writeheader()
    writer.writerows(facts["rows"])
    (row,) = csv.DictReader(io.StringIO(text.getvalue()))
    assert float(row["train_loss"]) == facts["rows"][0]["train_loss"]


def test_a_phase_can_stop_before_its_schedule_ends(tmp_path: Path) -> None:
    """As in a refit, which has no validation to stop it."""
    phase = make(tmp_path, epochs=4)
    phase.plan = dataclasses.replace(phase.plan, stop_after=2)
    facts = run(phase)
    assert without_times(facts) == without_times(run(make(tmp_path, epochs=4)))[:2]


# Several batches per step


def sgd(part: nn.Module, _: TrainConfig) -> torch.optim.Optimizer:
    """With the same learning rate everywhere; Adam would blow up what rounding leaves."""
    return torch.optim.SGD([{"params": part.parameters(), "peak": 0.1}], lr=0.0, momentum=0.9)


def gradients(phase: Phase) -> list[Values]:
    """Gets the gradients of every step of the phase, once it runs."""
    found: list[Values] = []
    step = phase.optimizer.step

    def noted(*arguments: Any) -> Any:
        named = phase.whole.named_parameters()
        found.append({n: p.grad.clone() for n, p in named if p.grad is not None})
        return step(*arguments)

    phase.optimizer.step = noted  # type: ignore[method-assign]
    return found


def close(one: Values, other: Values, tolerance: float) -> bool:
    return one.keys() == other.keys() and all(
        torch.allclose(one[n], other[n], rtol=0, atol=tolerance) for n in one
    )


@pytest.mark.parametrize("count", [48, 50, 53, 5], ids=["even", "two", "two batches", "only"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"weights": torch.tensor([0.2, 1.0, 3.0]), "label_smoothing": 0.3}, {"clip_norm": 0.05}],
    ids=["plain", "weighted", "clipped"],
)
def test_batches_of_4_accumulated_3_times_are_batches_of_12(
    count: int, settings: dict[str, Any], tmp_path: Path
) -> None:
    """But for float32 sums in another order: values near 1, so some 1e-7 a step, 10 steps."""
    found = []
    for sizes in ({"batch_size": 12}, {"batch_size": 4, "accumulate": 3}):
        phase = make(tmp_path, rows=clouds(count), epochs=2, made_by=sgd, **sizes, **settings)
        taken = gradients(phase)
        found.append((phase.steps, taken, run(phase), values(phase.whole)))
    (steps, ones, once, end), (same_steps, others, again, other_end) = found
    assert steps == same_steps == math.ceil(count / 12)
    assert len(ones) == len(others) == 2 * steps
    assert all(close(one, other, 2e-6) for one, other in zip(ones, others, strict=True))
    assert close(end, other_end, 5e-6)
    for one, other in zip(once["rows"], again["rows"], strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-5)
        assert one["train_accuracy"] == other["train_accuracy"]
        assert one["learning_rate"] == other["learning_rate"]


def test_every_batch_of_a_step_has_its_own_dropout_and_mixing(tmp_path: Path) -> None:
    module = layers(0.5)
    masks: list[torch.Tensor] = []
    module[3].register_forward_hook(  # type: ignore[index,operator]
        lambda layer, given, out: masks.append(out != 0) if layer.training else None
    )
    same_row = (torch.ones(8, 4), np.zeros(8, dtype=np.int64))
    run(make(tmp_path, module=module, rows=same_row, epochs=1, batch_size=4, accumulate=2))
    assert len(masks) == 2
    assert not torch.equal(masks[0], masks[1])


@pytest.mark.parametrize("batch_size", [2, 3, 4])
@pytest.mark.parametrize("count", range(8, 17))
def test_accumulated_batches_are_never_of_one_image_where_batch_norm_trains(
    count: int, batch_size: int, tmp_path: Path
) -> None:
    module = layers()
    sizes: list[int] = []
    module[1].register_forward_pre_hook(  # type: ignore[index,operator]
        lambda layer, given: sizes.append(len(given[0])) if layer.training else None
    )
    phase = make(
        tmp_path, module=module, rows=clouds(count), batch_norm="trained", epochs=1,
        batch_size=batch_size, accumulate=4,
    )  # fmt: skip
    assert math.isfinite(run(phase)["rows"][0]["train_loss"])
    assert min(sizes) > 1
    assert sum(sizes) >= count - 1


# Clipping


def norm(gradient: Values) -> float:
    return float(torch.stack([value.norm() for value in gradient.values()]).norm())


def test_gradients_are_no_longer_than_asked_for(tmp_path: Path) -> None:
    free, clipped = make(tmp_path, epochs=1), make(tmp_path, epochs=1, clip_norm=0.5)
    taken = [gradients(phase) for phase in (free, clipped)]
    run(free)
    run(clipped)
    norms = [[norm(gradient) for gradient in one] for one in taken]
    assert max(norms[0]) > 0.6
    assert max(norms[1]) <= 0.5 * (1 + 1e-6)
    first, shortened = taken[0][0], taken[1][0]
    share = min(1.0, 0.5 / norms[0][0])
    assert close({name: share * value for name, value in first.items()}, shortened, 1e-6)


def test_short_gradients_are_not_made_longer(tmp_path: Path) -> None:
    free, clipped = make(tmp_path, epochs=1), make(tmp_path, epochs=1, clip_norm=1e6)
    run(free)
    run(clipped)
    assert same(values(free.whole), values(clipped.whole))


# Losses that are not finite


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bad_batch_of_a_step_moves_nothing(tmp_path: Path, bad: float, place: int) -> None:
    """Not the layers, not the optimizer, not the average: the step before is the last."""
    rows, targets = clouds(12)
    module = layers()
    phase = make(tmp_path, module=module, rows=(rows, targets), batch_size=4, accumulate=3, ema=0.9)
    facts = phase.start({"rows": []})
    phase.keeper.note_step()  # so that the average is not the layers
    rows[order(targets, 0, 0, sampler=False)[4 * place]] = bad
    before, average = values(module), phase.keeper.average
    assert average is not None
    kept = {name: value.clone() for name, value in average.values.items()}
    taken = gradients(phase)
    phase.stop.requested = True  # what is saved is what the step left
    phase.batch = facts["batch"]
    assert not math.isfinite(phase._advance(order(targets, 0, 0, sampler=False), facts))
    assert taken == []
    assert same(values(module), before)
    assert same(average.values, kept)
    assert not phase.optimizer.state


# Memory


class Greedy(nn.Module):
    """Runs out of memory in its forward pass when asked to, or with too many images."""

    def __init__(self, call: int = -1, most: int = 1000) -> None:
        super().__init__()
        self.inner, self.call, self.most = layers(), call, most
        self.calls, self.sizes = 0, list[int]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.calls += 1
            self.sizes.append(len(x))
            if self.calls == self.call or len(x) > self.most:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")
        out: torch.Tensor = self.inner(x)
        return out


@pytest.mark.parametrize("call", [1, 4, 7, 8, 14])
def test_out_of_memory_changes_nothing_but_the_size_of_a_batch(call: int, tmp_path: Path) -> None:
    """Up to float32 sums in another order, as with accumulated batches."""
    free = make(tmp_path, module=Greedy(), epochs=2, made_by=sgd)
    greedy = Greedy(call)
    short = make(tmp_path, module=greedy, epochs=2, made_by=sgd)
    expected, facts = run(free), run(short)
    assert facts["batch"] == 4
    assert max(greedy.sizes[call:]) <= 4
    assert short.steps == free.steps
    assert close(values(free.whole), values(short.whole), 5e-6)
    for one, other in zip(expected["rows"], facts["rows"], strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-5)


def test_a_resumed_phase_keeps_the_halved_batch(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole", module=Greedy(most=4), epochs=2)
    (tmp_path / "whole").mkdir()
    expected = run(whole)
    stop = StopSignal()
    hook = lambda load: stop.receive() if load == 9 else None  # noqa: E731
    with pytest.raises(Interrupted):
        run(make(tmp_path, module=Greedy(most=4), epochs=2, hook=hook, stop=stop))
    greedy = Greedy(most=4)
    again = make(tmp_path, module=greedy, epochs=2)
    facts = gone_on(again)
    assert max(greedy.sizes) == 4, "it tries the large batch again"
    assert without_times(facts) == without_times(expected)
    assert same(values(again.whole), values(whole.whole))


def test_out_of_memory_again_is_an_error_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"batches of 4 images.*--batch-size"):
        run(make(tmp_path, module=Greedy(most=3), epochs=2))


def test_another_error_of_the_network_is_not_taken_for_memory(tmp_path: Path) -> None:
    module = layers()
    module[0] = nn.Linear(5, 8)  # type: ignore[index,operator]
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        run(make(tmp_path, module=module, validated=False))


def test_the_failed_attempt_is_let_go_before_the_next(tmp_path: Path) -> None:
    """Else the smaller batches would have to fit beside the large one."""
    alive: list[weakref.ref[torch.Tensor]] = []
    held: list[bool] = []

    class Watched(Greedy):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                held.append(any(found() is not None for found in alive))
                big = x * 2
                alive.append(weakref.ref(big))
                return super().forward(big)
            return super().forward(x)

    run(make(tmp_path, module=Watched(call=1), rows=clouds(8), epochs=1))
    assert held == [False] * 3
