from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bowerbird import progress
from bowerbird.config import TrainConfig
from bowerbird.errors import Interrupted
from bowerbird.training.batches import Rows
from bowerbird.training.checkpoint import load_checkpoint, restore
from bowerbird.training.interrupts import StopSignal
from bowerbird.training.loop import Phase, PhasePlan, mixed

Facts = dict[str, Any]


class Held:
    """Rows in memory; calls `hook` with the number of the load before each."""

    def __init__(self, rows: torch.Tensor, hook: Callable[[int], None] | None = None) -> None:
        self.rows, self.hook, self.loads = rows, hook, 0

    def load(self, rows: Rows, epoch: int) -> torch.Tensor:
        if self.hook is not None:
            self.hook(self.loads)
        self.loads += 1
        return self.rows[torch.from_numpy(np.asarray(rows))]


def clouds(count: int, seed: int = 0) -> tuple[torch.Tensor, np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    targets = np.arange(count) % 3
    centres = np.array([[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]])
    rows = centres[targets] + random.normal(size=(count, 4))
    return torch.from_numpy(rows).float(), targets


def layers(dropout: float = 0.0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3)
        )


def make(
    folder: Path,
    *,
    epochs: int = 4,
    rate: float = 0.05,
    module: nn.Module | None = None,
    hook: Callable[[int], None] | None = None,
    stop: StopSignal | None = None,
    validated: bool = True,
    weights: torch.Tensor | None = None,
    batch_norm: str = "frozen",
    rows: tuple[torch.Tensor, np.ndarray[Any, Any]] | None = None,
    report: Callable[[list[Facts]], None] = lambda rows: None,
    **settings: Any,
) -> Phase:
    module = module or layers()
    inputs, targets = rows or clouds(50)
    held, truth = clouds(30, seed=1)
    config = TrainConfig(**{"batch_size": 8, **settings})
    return Phase(
        PhasePlan("all", "input", "images", epochs, rate, batch_norm=batch_norm),
        module, module, torch.optim.AdamW([{"params": module.parameters(), "peak": rate}]),
        Held(inputs, hook), targets, 3, (Held(held), truth) if validated else None, config,
        weights, (folder / "last.safetensors", folder / "best.safetensors"),
        stop or StopSignal(), report,
    )  # fmt: skip


def values(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def without_times(facts: Facts) -> list[Facts]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in facts["rows"]]


def run(phase: Phase) -> Facts:
    return phase.run(phase.start({"rows": []}))


def scripted(
    phase: Phase, scores: list[tuple[float, float]], seen: list[dict[str, torch.Tensor]]
) -> None:
    """Validation says `scores` one after the other, and keeps the layers it was asked about."""
    left: Iterator[tuple[float, float]] = iter(scores)

    def validate() -> tuple[float, float]:
        seen.append(values(phase.judge))
        return next(left)

    phase.validate = validate  # type: ignore[method-assign]


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
        shares = torch.softmax(phase.judge.eval()(held), dim=1)
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
    assert same(values(phase.judge), seen[2])
    assert not same(seen[2], seen[4])
    assert not phase.judge.training


def test_among_equal_accuracies_the_lower_loss_is_better(tmp_path: Path) -> None:
    phase, seen = make(tmp_path, epochs=3), []
    scripted(phase, [(0.5, 1.0), (0.8, 0.6), (0.8, 0.4), (0.8, 0.5)], seen)
    assert run(phase)["best"]["epoch"] == 2
    assert same(values(phase.judge), seen[2])


def test_a_phase_cannot_end_below_its_start(tmp_path: Path) -> None:
    phase, seen = make(tmp_path, epochs=3), []
    scripted(phase, [(0.9, 0.2), (0.5, 1.0), (0.6, 1.0), (0.9, 0.3)], seen)
    assert run(phase)["best"]["epoch"] == 0
    assert same(values(phase.judge), seen[0])


def test_it_stops_early(tmp_path: Path) -> None:
    phase, seen = make(tmp_path, epochs=20, patience=2), []
    scripted(phase, [(0.5, 1.0), (0.6, 1.0), (0.4, 1.0), (0.7, 1.0), *[(0.7, 1.0)] * 9], seen)
    facts = run(phase)
    assert [row["epoch"] for row in facts["rows"]] == [1, 2, 3, 4, 5]
    assert facts["best"]["epoch"] == 3


def test_without_validation_the_last_layers_stay(tmp_path: Path) -> None:
    phase = make(tmp_path, epochs=3, validated=False, patience=1)
    start = values(phase.judge)
    facts = run(phase)
    assert len(facts["rows"]) == 3
    assert not any(name.startswith("val") for name in facts["rows"][0])
    assert not same(values(phase.judge), start)
    saved = load_checkpoint(tmp_path / "last.safetensors")
    assert saved is not None
    assert all(
        torch.equal(value, saved.tensors[f"model.{name}"])
        for name, value in values(phase.learner).items()
    )


def test_a_loss_that_is_not_finite_stops_the_phase(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with progress.log_to(log):
        phase = make(tmp_path, epochs=5, rate=1e30)
        start = phase.validate()
        facts = run(phase)
    assert phase.validate() >= start
    assert all(torch.isfinite(value).all() for value in phase.judge.state_dict().values())
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
            shares.append(torch.softmax(phase.judge(noise[:1]), dim=1)[0].tolist())
    assert shares[0] == pytest.approx([0.8, 0.1, 0.1], abs=0.05)
    assert shares[1] == pytest.approx([1 / 3] * 3, abs=0.08)


def test_the_sampler_shows_rare_classes_as_often(tmp_path: Path) -> None:
    rows, _ = clouds(48)
    phase = make(tmp_path, rows=(rows, np.array([0] * 46 + [1, 2])), balance="sampler", epochs=1)
    seen: list[int] = []
    load = phase.batches.load

    def watched(chosen: Rows, epoch: int) -> torch.Tensor:
        seen.extend(phase.targets[chosen].tolist())
        return load(chosen, epoch)

    phase.batches.load = watched  # type: ignore[method-assign]
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
        assert same(values(module), values(whole.judge)), f"stopped at step {step}"


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
    saved = load_checkpoint(folder / "last.safetensors")
    assert saved is not None
    restore(saved, phase.learner, phase.optimizer)
    return phase.run(saved.facts), module


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
    expected = values(phase.judge)
    saved = load_checkpoint(tmp_path / "last.safetensors")
    assert saved is not None
    again = make(tmp_path, epochs=2, hook=lambda load: pytest.fail("it loads a batch"))
    restore(saved, again.learner, again.optimizer)
    assert without_times(again.run(saved.facts)) == without_times(facts)
    assert same(values(again.judge), expected)


def test_history_survives_csv(tmp_path: Path) -> None:
    """Figures are written so that reading gives them back exactly."""
    facts = run(make(tmp_path, epochs=1))
    text = io.StringIO()
    writer = csv.DictWriter(text, facts["rows"][0])
    writer.writeheader()
    writer.writerows(facts["rows"])
    (row,) = csv.DictReader(io.StringIO(text.getvalue()))
    assert float(row["train_loss"]) == facts["rows"][0]["train_loss"]


# Mixing


def truth(count: int = 6) -> torch.Tensor:
    return nn.functional.one_hot(torch.arange(count) % 3, 3).float()


def test_nothing_is_mixed_unless_asked(tmp_path: Path) -> None:
    batch, labels = torch.rand(6, 3, 8, 8), truth()
    found, shares = mixed(batch, labels, TrainConfig(), np.random.default_rng(0))
    assert found is batch
    assert shares is labels


@pytest.mark.parametrize("alphas", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}])
@pytest.mark.parametrize("shape", [(6, 2, 9, 7), (6, 5, 4), (6, 10), (6, 3, 1, 1)])
def test_shares_sum_to_one(shape: tuple[int, ...], alphas: dict[str, float]) -> None:
    for seed in range(30):
        generator = np.random.default_rng(seed)
        found, shares = mixed(torch.rand(shape), truth(), TrainConfig(**alphas), generator)
        assert found.shape == shape
        assert torch.allclose(shares.sum(dim=1), torch.ones(6))
        assert shares.min() >= 0


def test_mixup_by_hand() -> None:
    batch = torch.rand(6, 2, 3, 3)
    generator = np.random.default_rng(8)
    generator.integers(1)  # which of the methods asked for
    share = generator.beta(0.4, 0.4)
    other = torch.from_numpy(generator.permutation(6))
    config = TrainConfig(mixup=0.4)
    found, shares = mixed(batch, truth(), config, np.random.default_rng(8))
    assert torch.allclose(found, share * batch + (1 - share) * batch[other])
    assert torch.allclose(shares, share * truth() + (1 - share) * truth()[other])


def test_cutmix_shares_are_the_areas() -> None:
    """Each image is one number throughout, so the areas can be counted."""
    batch = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 12, 12).contiguous()
    areas = set()
    for seed in range(40):
        generator = np.random.default_rng(seed)
        found, shares = mixed(batch, torch.eye(6), TrainConfig(cutmix=1.0), generator)
        for image, row in zip(found, shares, strict=True):
            counted = torch.bincount(image.flatten().long(), minlength=6) / 144
            assert torch.allclose(counted, row, atol=1e-6)
        areas.add(round(float(shares.diagonal().min()), 3))
    assert len(areas) > 10
    assert torch.equal(batch[3], torch.full((1, 12, 12), 3.0)), "the batch itself was changed"


@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 10), (6, 7, 7, 3)])
def test_cutmix_of_what_has_no_square_map_is_mixup(shape: tuple[int, ...]) -> None:
    batch = torch.rand(shape)
    found = mixed(batch, truth(), TrainConfig(cutmix=1.0), np.random.default_rng(2))
    expected = mixed(batch, truth(), TrainConfig(mixup=1.0), np.random.default_rng(2))
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_a_phase_can_stop_before_its_schedule_ends(tmp_path: Path) -> None:
    """As in a refit, which has no validation to stop it."""
    phase = make(tmp_path, epochs=4)
    phase.plan = dataclasses.replace(phase.plan, stop_after=2)
    facts = run(phase)
    assert without_times(facts) == without_times(run(make(tmp_path, epochs=4)))[:2]
