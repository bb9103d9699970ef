"""What a phase keeps: the soup of its best epochs, the moving average, and the files of both."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from bowerbird import progress
from bowerbird.errors import Interrupted, RunError
from bowerbird.training.averaging import mean_of
from bowerbird.training.checkpoint import load_checkpoint
from bowerbird.training.interrupts import StopSignal
from bowerbird.training.tuning import as_chosen
from training.toys import (
    Facts,
    Values,
    gone_on,
    layers,
    make,
    run,
    same,
    scripted,
    values,
    without_times,
)

SCORES = [(0.1, 1.0), (0.5, 1.0), (0.8, 1.0), (0.4, 1.0), (0.7, 1.0)]
"""Before the phase, and after each of four epochs: 2, 4 and 1 are the best three."""


def epochs_kept(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("*epoch*"))


@pytest.mark.parametrize("soup", [2, 3])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_mean_of_the_best_epochs_is_kept_if_it_is_better(
    soup: int, ema: float, tmp_path: Path
) -> None:
    phase, seen = make(tmp_path, soup=soup, ema=ema), list[Values]()
    scripted(phase, [*SCORES, (0.81, 9.0)], seen)
    log = tmp_path / "log.txt"
    with progress.log_to(log):
        facts = run(phase)
    best = [2, 4, 1][:soup]
    expected = mean_of([seen[epoch] for epoch in best])
    assert same(values(phase.whole), expected)
    assert same(seen[-1], expected), "something else was validated"
    assert facts["best"] == {
        "accuracy": 0.81, "loss": 9.0, "epoch": 2, "within": 2, "soup": sorted(best),
    }  # fmt: skip
    assert f"mean of epochs {', '.join(map(str, sorted(best)))} is kept" in log.read_text()
    kept = load_checkpoint(tmp_path / "best.safetensors")
    assert kept is not None
    assert same(kept.named("model"), expected)


@pytest.mark.parametrize("score", [(0.8, 1.0), (0.8, 1.1), (0.79, 0.1), (0.8, math.nan)])
def test_a_mean_that_is_no_better_is_not_kept(score: tuple[float, float], tmp_path: Path) -> None:
    phase, seen = make(tmp_path, soup=3), list[Values]()
    scripted(phase, [*SCORES, score], seen)
    log = tmp_path / "log.txt"
    log.touch()
    with progress.log_to(log):
        facts = run(phase)
    assert same(values(phase.whole), seen[2])
    assert facts["best"] == {"accuracy": 0.8, "loss": 1.0, "epoch": 2, "within": 2}
    assert "mean" not in log.read_text()


def test_a_mean_with_more_right_and_no_finite_loss_is_not_kept(tmp_path: Path) -> None:
    """All NaN is class 0 to argmax, and may be right more often than what was there."""
    phase, seen = make(tmp_path, soup=3), list[Values]()
    scripted(phase, [*SCORES, (0.9, math.nan)], seen)
    assert "soup" not in run(phase)["best"]
    assert same(values(phase.whole), seen[2])


def test_only_files_of_the_soup_are_kept(tmp_path: Path) -> None:
    found: list[list[str]] = []
    phase, seen = make(tmp_path, soup=2, report=lambda _: found.append(epochs_kept(tmp_path))), []
    scripted(phase, [*SCORES, (0.9, 1.0)], seen)
    run(phase)
    name = "best-epoch-{}.safetensors"
    numbers = ([1], [1, 2], [1, 2], [2, 4])
    assert found == [[name.format(n) for n in those] for those in numbers]
    for epoch in (2, 4):
        kept = load_checkpoint(tmp_path / name.format(epoch))
        assert kept is not None
        assert same(kept.named("model"), seen[epoch])
        assert not kept.named("optimizer")


def test_the_soup_of_another_phase_is_left_alone(tmp_path: Path) -> None:
    """Phase 1 and phase 11 share the beginning of their names."""
    others = [tmp_path / f"best{n}-epoch-9.safetensors" for n in ("1", "-1", "-11")]
    for file in others:
        file.write_bytes(b"of another phase")
    phase = make(tmp_path, soup=2)
    scripted(phase, [*SCORES, (0.9, 1.0)], [])
    run(phase)
    assert all(file.exists() for file in others)


@pytest.mark.parametrize("settings", [{"soup": 1}, {"soup": 5, "epochs": 1}])
def test_one_epoch_is_no_soup(settings: dict[str, Any], tmp_path: Path) -> None:
    phase, seen = make(tmp_path, **settings), list[Values]()
    scripted(phase, SCORES, seen)
    facts = run(phase)
    assert "soup" not in facts["best"]
    assert len(seen) == 1 + len(facts["rows"])


def test_epochs_without_finite_loss_are_not_in_the_soup(tmp_path: Path) -> None:
    phase = make(tmp_path, soup=3)
    scripted(phase, [(0.1, 1.0), (0.5, 1.0), (0.9, math.nan), (0.4, 1.0), (0.7, 1.0), (0.9, 1)], [])
    assert run(phase)["best"]["soup"] == [1, 3, 4]


SOUPED: dict[float, dict[str, Any]] = {
    ema: {"epochs": 4, "soup": 2, "ema": ema, "rate": 0.3, "batch_size": 16, "schedule": "constant"}
    for ema in (0.0, 0.8)
}
"""Settings where the mean of two epochs is better, by the moving average."""


@pytest.mark.parametrize("ema", SOUPED)
def test_interrupted_at_every_step_the_soup_is_the_same(ema: float, tmp_path: Path) -> None:
    settings = SOUPED[ema]
    (tmp_path / "whole").mkdir()
    whole = make(tmp_path / "whole", **settings)
    expected = run(whole)
    assert expected["best"].get("soup"), "choose settings where the soup is better"
    assert epochs_kept(tmp_path / "whole") == [
        f"best-epoch-{number}.safetensors" for number in expected["best"]["soup"]
    ]
    for step in range(4 * whole.steps):
        folder = tmp_path / str(step)
        folder.mkdir()
        stop = StopSignal()
        hook = lambda load, step=step, stop=stop: stop.receive() if load == step else None  # noqa: E731
        with pytest.raises(Interrupted):
            run(make(folder, hook=hook, stop=stop, **settings))
        phase = make(folder, module=layers(), **settings)
        facts = gone_on(phase)
        assert facts["best"] == expected["best"], f"stopped at step {step}"
        assert without_times(facts) == without_times(expected)
        assert same(values(phase.whole), values(whole.whole))
        assert epochs_kept(folder) == epochs_kept(tmp_path / "whole")


@pytest.mark.parametrize("soup", [1, 2])
@pytest.mark.parametrize("better", [True, False])
def test_a_finished_phase_is_found_finished(soup: int, better: bool, tmp_path: Path) -> None:
    """As when a later phase is interrupted: this one is walked through again."""
    settings: dict[str, Any] = {"soup": soup, "ema": 0.9}
    phase = make(tmp_path, **settings)
    scripted(phase, [*SCORES, (0.9 if better else 0.2, 1.0)], [])
    facts = run(phase)
    for _ in range(2):
        again = make(tmp_path, hook=lambda load: pytest.fail("it loads a batch"), **settings)
        found = gone_on(again)
        assert same(values(again.whole), values(phase.whole))
        assert found["best"] == facts["best"]
        assert without_times(found) == without_times(facts)


@pytest.mark.parametrize("moment", ["mean written", "last written"])
def test_killed_while_the_soup_is_kept(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise SystemExit

    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = make(tmp_path / "whole", **SOUPED[0.8])
    expected = run(whole)
    assert expected["best"].get("soup")
    victim = make(tmp_path / "killed", **SOUPED[0.8])
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        stir = victim._stir

        def stirred(facts: Facts) -> None:
            if moment == "mean written":
                patched.setattr(victim.keeper, "save", killed)
            stir(facts)
            killed()

        patched.setattr(victim, "_stir", stirred)
        run(victim)
    again = make(tmp_path / "killed", **SOUPED[0.8])
    assert gone_on(again)["best"] == expected["best"]
    assert same(values(again.whole), values(whole.whole))


def test_a_missing_epoch_is_missed(tmp_path: Path) -> None:
    phase = make(tmp_path, soup=2)
    scripted(phase, [*SCORES, (0.9, 1.0)], [])
    stir = phase._stir

    def without(facts: Facts) -> None:
        (tmp_path / "best-epoch-4.safetensors").unlink()
        stir(facts)

    phase._stir = without  # type: ignore[method-assign]
    with pytest.raises(RunError, match=r"best-epoch-4\.safetensors is missing"):
        run(phase)


# What a refit repeats


def refitted(folder: Path, phase_of: Any, **settings: Any) -> tuple[Any, Any]:
    """The phase as chosen, and the same phase once more without validation."""
    (folder / "refit").mkdir()
    (plan,) = as_chosen([phase_of.plan], folder)
    again = make(folder / "refit", validated=False, plan=plan, **settings)
    return plan, again


def rename(folder: Path) -> None:
    (folder / "last.safetensors").rename(folder / "last-1.safetensors")


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("last", [(0.7, 1.0), (0.2, 1.0)])
def test_a_refit_repeats_the_soup(last: tuple[float, float], ema: float, tmp_path: Path) -> None:
    """With the same data its epochs are the same, so the mean must be, too."""
    phase = make(tmp_path, soup=2, ema=ema)
    scripted(phase, [*SCORES[:-1], last, (0.9, 1.0)], [])
    run(phase)
    rename(tmp_path)
    plan, again = refitted(tmp_path, phase, soup=2, ema=ema)
    assert plan.soup == ((2, 4) if last[0] > 0.5 else (1, 2))
    assert plan.stop_after == max(plan.soup)
    facts = run(again)
    assert len(facts["rows"]) == plan.stop_after
    assert same(values(again.whole), values(phase.whole))


def test_a_refit_without_soup_ends_with_the_best_epoch(tmp_path: Path) -> None:
    phase = make(tmp_path, soup=2)
    scripted(phase, [*SCORES, (0.2, 1.0)], [])
    run(phase)
    rename(tmp_path)
    plan, again = refitted(tmp_path, phase, soup=2)
    assert (plan.soup, plan.stop_after) == ((), 2)
    run(again)
    assert same(values(again.whole), values(phase.whole))
    assert epochs_kept(tmp_path / "refit") == []


def test_a_soup_that_is_better_than_the_start_is_repeated_where_no_epoch_is(
    tmp_path: Path,
) -> None:
    phase = make(tmp_path, soup=2)
    scripted(phase, [(0.85, 1.0), *SCORES[1:], (0.9, 1.0)], [])
    assert run(phase)["best"]["within"] == 0
    rename(tmp_path)
    assert [plan.soup for plan in as_chosen([phase.plan], tmp_path)] == [(2, 4)]


def test_a_phase_that_made_nothing_better_is_not_repeated(tmp_path: Path) -> None:
    phase = make(tmp_path, soup=2)
    scripted(phase, [(0.85, 1.0), *SCORES[1:], (0.8, 1.0)], [])
    run(phase)
    rename(tmp_path)
    assert as_chosen([phase.plan], tmp_path) == []


@pytest.mark.parametrize("schedule", ["cosine", "step", "one-cycle", "plateau", "constant"])
def test_a_refit_has_the_same_learning_rates(schedule: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"schedule": schedule, "epochs": 6, "decay_epochs": 1}
    phase = make(tmp_path, **settings)
    losses = [(0.1, 1.0), (0.2, 1.0), (0.3, 1.1), (0.4, 1.2), (0.5, 0.9), (0.6, 1.0), (0.5, 1.1)]
    scripted(phase, losses, [])
    facts = run(phase)
    rename(tmp_path)
    plan, again = refitted(tmp_path, phase, **settings)
    assert plan.stop_after == 5
    expected = [row["learning_rate"] for row in facts["rows"][:5]]
    assert [row["learning_rate"] for row in run(again)["rows"]] == pytest.approx(expected)


# The moving average


def test_the_average_is_what_is_validated_and_kept(tmp_path: Path) -> None:
    phase = make(tmp_path, ema=0.9, epochs=3)
    facts = run(phase)
    own = make(tmp_path, epochs=3)
    assert phase.validate() == (facts["best"]["accuracy"], facts["best"]["loss"])
    run(own)
    assert not same(values(phase.whole), values(own.whole))


def test_the_optimizer_goes_on_with_the_layers_themselves(tmp_path: Path) -> None:
    """Without validation to choose, losses in training know nothing of the average."""
    rows = []
    for name, ema in (("own", 0.0), ("averaged", 0.99)):
        (tmp_path / name).mkdir()
        facts = run(make(tmp_path / name, ema=ema, validated=False))
        rows.append([row["train_loss"] for row in facts["rows"]])
    assert rows[0] == rows[1]


def test_the_average_by_hand_over_two_steps(tmp_path: Path) -> None:
    """A step of SGD by hand, then the average of start and two steps."""
    seen: list[Values] = []
    phase = make(tmp_path, ema=0.99, epochs=2, batch_size=50, validated=False)
    first = values(phase.whole)
    step = phase.optimizer.step

    def noted(*arguments: Any) -> Any:
        found = step(*arguments)
        seen.append(values(phase.whole))
        return found

    phase.optimizer.step = noted  # type: ignore[method-assign]
    run(phase)
    assert len(seen) == 2
    for name, value in values(phase.whole).items():
        if value.is_floating_point():
            once = 0.1 * first[name] + 0.9 * seen[0][name]
            assert torch.allclose(value, 2 / 11 * once + 9 / 11 * seen[1][name], atol=1e-6)
