"""A phase of training on a few numbers: tiny layers, clouds of points, scripted validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bowerbird.config import TrainConfig
from bowerbird.models.cuts import INPUT, trace
from bowerbird.training import optim
from bowerbird.training.batches import Rows
from bowerbird.training.checkpoint import load_checkpoint
from bowerbird.training.interrupts import StopSignal
from bowerbird.training.keeping import Files
from bowerbird.training.loop import Phase, Piece, Truth
from bowerbird.training.phases import PhasePlan, Step

Facts = dict[str, Any]
Values = dict[str, torch.Tensor]
Cloud = tuple[torch.Tensor, "np.ndarray[Any, Any]"]


class Held:
    """Rows in memory; calls `hook` with the number of the load before each."""

    def __init__(self, rows: torch.Tensor, hook: Callable[[int], None] | None = None) -> None:
        self.rows, self.hook, self.loads = rows, hook, 0

    def load(self, rows: Rows, epoch: int) -> torch.Tensor:
        if self.hook is not None:
            self.hook(self.loads)
        self.loads += 1
        return self.rows[torch.from_numpy(np.asarray(rows))]


def clouds(count: int, seed: int = 0) -> Cloud:
    """Points [N, 4] in three clouds that overlap, and the cloud of each."""
    random = np.random.default_rng(seed)
    targets = np.arange(count) % 3
    centres = np.array([[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]])
    rows = centres[targets] + random.normal(size=(count, 4))
    return torch.from_numpy(rows).float(), targets


def layers(dropout: float = 0.0) -> nn.Module:
    """Two layers with batch-norm between them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3)
        )


class Ladder(nn.Module):
    """Three stages to release one after the other: head, late, early."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            self.early, self.late = nn.Linear(4, 6), nn.Linear(6, 5)
            self.drop, self.head = nn.Dropout(dropout), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.early(x))
        x = torch.tanh(self.late(x))
        out: torch.Tensor = self.head(self.drop(x))
        return out


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
    rows: Cloud | None = None,
    report: Callable[[list[Facts]], None] = lambda rows: None,
    plan: PhasePlan | None = None,
    made_by: Callable[[nn.Module, TrainConfig], torch.optim.Optimizer] | None = None,
    **settings: Any,
) -> Phase:
    """A phase over all layers of a module; its optimizer is AdamW, or what `made_by` makes."""
    module = layers() if module is None else module
    inputs, targets = rows or clouds(50)
    held, truth = clouds(30, seed=1)
    config = TrainConfig(**{"batch_size": 8, **settings})
    made = made_by or (lambda part, _: _adamw(part, rate))
    piece = Piece(module, module, Held(inputs, hook), Held(held) if validated else None)
    return Phase(
        plan or PhasePlan("all", INPUT, "images", epochs, rate, batch_norm=batch_norm),
        lambda number: piece, module, made(module, config),
        Truth(targets, truth if validated else None, 3, weights), config,
        Files(folder / "last.safetensors", folder / "best.safetensors"),
        stop or StopSignal(), report,
    )  # fmt: skip


STEPS = (Step(2, "from late", "tanh", "cached", (), 0.5), Step(4, "all layers", INPUT, "images"))


def climb(
    folder: Path,
    *,
    ladder: Ladder | None = None,
    epochs: int = 6,
    rate: float = 0.05,
    later: Sequence[Step] = STEPS,
    hook: Callable[[int], None] | None = None,
    stop: StopSignal | None = None,
    validated: bool = True,
    pieces: list[int] | None = None,
    plan: PhasePlan | None = None,
    **settings: Any,
) -> Phase:
    """A phase that releases a `Ladder`: the head, from epoch 2 on late, from 4 on all.

    Args:
        hook: called before each load, whatever the step, with the number of loads before it.
        pieces: gets the number of every piece that is made.
    """
    ladder = ladder or Ladder()
    (inputs, targets), (held, truth) = clouds(50), clouds(30, seed=1)
    training, evaluation = trace(ladder.train()), trace(ladder.eval())
    plan = plan or PhasePlan("head", "drop", "cached", epochs, rate, later=tuple(later))
    config = TrainConfig(**{"batch_size": 8, "patience": 99, **settings})
    loads: list[int] = []

    def counted(_: int) -> None:
        if hook is not None:
            hook(len(loads))
        loads.append(1)

    def piece(number: int) -> Piece:
        if pieces is not None:
            pieces.append(number)
        cut = plan.steps[number].cut
        before = evaluation.prefix(cut)
        with torch.inference_mode():
            rows, others = before(inputs).clone(), before(held).clone()
        return Piece(
            training.suffix(cut), evaluation.suffix(cut),
            Held(rows, counted), Held(others) if validated else None,
        )  # fmt: skip

    whole = training.suffix(plan.steps[-1].cut)
    return Phase(
        plan, piece, whole, optim.make_optimizer(whole, training.stages, config, rate=rate),
        Truth(targets, truth if validated else None, 3), config,
        Files(folder / "last.safetensors", folder / "best.safetensors"),
        stop or StopSignal(), lambda rows: None,
    )  # fmt: skip


def values(module: nn.Module) -> Values:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: Values, other: Values) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def without_times(facts: Facts) -> list[Facts]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in facts["rows"]]


def run(phase: Phase) -> Facts:
    return phase.run(phase.start({"rows": []}))


def gone_on(phase: Phase) -> Facts:
    """The facts after going on from what the phase's folder holds."""
    saved = load_checkpoint(phase.keeper.files.last)
    assert saved is not None
    phase.restore(saved)
    return phase.run(saved.facts)


def scripted(phase: Phase, scores: Sequence[tuple[float, float]], seen: list[Values]) -> None:
    """Validation says `scores` one after the other, and keeps the layers it was asked about."""
    left: Iterator[tuple[float, float]] = iter(scores)

    def validate() -> tuple[float, float]:
        with phase.keeper.averaged():
            seen.append(values(phase.whole))
        return next(left)

    phase.validate = validate  # type: ignore[method-assign]


def _adamw(part: nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW([{"params": part.parameters(), "peak": rate}])
