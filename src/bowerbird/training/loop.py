"""One phase of fine-tuning: the layers after a cut learn, the ones before it are frozen.

The loop is `Phase.run`: for each epoch, for each batch, one step; then validation, and
the best layers kept. Everything the next step depends on is in `facts`, the layers and
the optimizer, and goes to disk together: at the end of each epoch, once a minute, and
when someone asks to stop.

Decisions:
- Batch-norm keeps its pretrained statistics (evaluation mode); its scale and shift learn.
  Only a network that starts from random weights learns the statistics, too; a last batch
  of one image is then left out, since it has none.
- The best epoch is chosen on validation accuracy, then loss. The state before the phase
  is a candidate too, so a phase can't make things worse on validation.
- A loss that is not finite stops the phase; the best layers so far are kept.
- Dropout draws from torch's global generator; each step seeds it and puts it back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from bowerbird import progress
from bowerbird.config import TrainConfig
from bowerbird.errors import RunError
from bowerbird.training import checkpoint as checkpoints
from bowerbird.training import optim
from bowerbird.training.batches import Batches, Rows, order
from bowerbird.training.interrupts import StopSignal

__all__ = ["Phase", "PhasePlan", "mixed"]

_SAVE_EVERY = 60.0
_VALIDATION_ROWS = 64


@dataclasses.dataclass(frozen=True)
class PhasePlan:
    """What one phase does; decided before it starts, and kept for resuming.

    Attributes:
        name: for people, e.g. ``"from blocks.4"``.
        cut: graph node that the trained part starts after.
        source: ``"cached"`` enumerated views, or ``"images"`` changed at random.
        epochs: at most.
        rate: peak learning rate of the classifier.
        precision: of the training steps.
        batch_norm: ``"frozen"`` statistics, or ``"trained"`` ones.
        stop_after: epochs to run of those that the schedule is made for, or None for all.
        seconds: what it was expected to take.
    """

    name: str
    cut: str
    source: str
    epochs: int
    rate: float
    precision: str = "float32"
    batch_norm: str = "frozen"
    stop_after: int | None = None
    seconds: float = 0.0


class Phase:
    """A phase that can be run, saved at any step, and gone on with.

    Args:
        plan: what to do.
        learner: the trained part in its training form.
        judge: the same layers in their evaluation form.
        optimizer: over the learner's parameters.
        batches: activations at the cut.
        targets: class index per training row.
        num_classes: K, scores per row.
        val: validation activations at the cut, and their classes.
        config: smoothing, mixing, warm-up, patience, balance, seed.
        class_weights: [K] factors in the loss, or None.
        files: where the last state and the best layers go.
        stop: asked after each step.
        report: given the history rows after each epoch.
    """

    def __init__(
        self,
        plan: PhasePlan,
        learner: nn.Module,
        judge: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: Batches,
        targets: npt.NDArray[Any],
        num_classes: int,
        val: tuple[Batches, npt.NDArray[Any]] | None,
        config: TrainConfig,
        class_weights: torch.Tensor | None,
        files: tuple[Path, Path],
        stop: StopSignal,
        report: Callable[[list[dict[str, Any]]], None],
    ) -> None:
        self.plan, self.learner, self.judge, self.optimizer = plan, learner, judge, optimizer
        self.batches, self.targets, self.val = batches, targets, val
        self.num_classes = num_classes
        self.config, self.class_weights = config, class_weights
        (self.last, self.best), self.stop, self.report = files, stop, report
        self.device = next(learner.parameters()).device
        full, rest = divmod(len(targets), config.batch_size)
        self.steps = max(1, full + (rest > (plan.batch_norm == "trained")))

    def run(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Train to the end of the phase; returns the facts, with its history rows.

        Args:
            facts: of `start`, or of the checkpoint that was restored.

        Raises:
            Interrupted: someone asked to stop; the state is saved.
        """
        total = self.plan.epochs * self.steps
        done = facts["epoch"] * self.steps + facts["step"]
        with self.stop.deferred(), progress.task(f"Fine-tuning {self.plan.name}", total) as task:
            task.advance(done)
            last = self.plan.stop_after or self.plan.epochs
            while facts["epoch"] < last and not facts["finished"]:
                if not self._epoch(facts, task):
                    break
            if not self.stop.requested:
                self._take_best(facts)
        return facts

    def start(self, facts: dict[str, Any]) -> dict[str, Any]:
        """The facts at the beginning: the present layers are the best so far."""
        accuracy, loss = self.validate()
        started = facts | {
            "epoch": 0,
            "step": 0,
            "sums": [0.0, 0, 0],
            "seconds": 0.0,
            "wait": 0,
            "finished": False,
            "best": {"accuracy": accuracy, "loss": loss, "epoch": 0, "within": 0},
        }
        checkpoints.save_checkpoint(self.best, self.judge, None, {})
        return started

    def validate(self) -> tuple[float, float]:
        """Accuracy and mean cross-entropy on validation; (0, 0) where there is none."""
        if self.val is None:
            return 0.0, 0.0
        batches, targets = self.val
        self.judge.eval()
        right, loss = 0, 0.0
        with torch.inference_mode():
            for start in range(0, len(targets), _VALIDATION_ROWS):
                rows = np.arange(start, min(start + _VALIDATION_ROWS, len(targets)))
                truth = torch.as_tensor(targets[rows], device=self.device)
                scores = self.judge(batches.load(rows, 0).to(self.device).float()).float()
                right += int((scores.argmax(1) == truth).sum())
                loss += float(functional.cross_entropy(scores, truth, reduction="sum"))
        return right / len(targets), loss / len(targets)

    def _epoch(self, facts: dict[str, Any], task: progress.Task) -> bool:
        """One epoch, or the rest of it; False if asked to stop."""
        rows = order(
            self.targets, facts["epoch"], self.config.seed, sampler=self.config.balance == "sampler"
        )
        self._set_training()
        saved = time.monotonic()
        while facts["step"] < self.steps:
            began = time.monotonic()
            loss = self._step(rows, facts)
            facts["seconds"] += time.monotonic() - began
            task.advance()
            task.note(f"loss {loss:.3f}")
            if not math.isfinite(loss):
                self._give_up(facts)
                return True
            if self.stop.requested or time.monotonic() - saved > _SAVE_EVERY:
                self._save(facts)
                saved = time.monotonic()
                if self.stop.requested:
                    return False
        self._close_epoch(facts)
        self._save(facts)
        self.report(facts["rows"])
        return not self.stop.requested

    def _step(self, rows: Rows, facts: dict[str, Any]) -> float:
        step, epoch = facts["step"], facts["epoch"]
        size = self.config.batch_size
        chosen = rows[step * size : (step + 1) * size]
        batch = self.batches.load(chosen, epoch).to(self.device).float()
        truth = functional.one_hot(
            torch.from_numpy(self.targets[chosen]).to(self.device), self.num_classes
        ).float()
        generator = np.random.default_rng([self.config.seed, epoch, 4, step])
        batch, mixture = mixed(batch, truth, self.config, generator)
        share = optim.factor(
            epoch * self.steps + step, self.plan.epochs * self.steps, self.config.warmup
        )
        facts["rate"] = optim.set_rate(self.optimizer, share)
        half = self.plan.precision == "bfloat16"
        with (
            _seeded(generator, self.device),
            torch.autocast(self.device.type, torch.bfloat16, enabled=half),
        ):
            scores = self.learner(batch)
        loss = functional.cross_entropy(
            scores.float(),
            mixture,
            weight=self.class_weights,
            label_smoothing=self.config.label_smoothing,
        )
        self.optimizer.zero_grad(set_to_none=True)
        value = float(loss.detach())
        if math.isfinite(value):
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        right = int((scores.argmax(1) == truth.argmax(1)).sum())
        sums = facts["sums"]
        facts["sums"] = [sums[0] + value * len(chosen), sums[1] + right, sums[2] + len(chosen)]
        facts["step"] = step + 1
        return value

    def _set_training(self) -> None:
        self.learner.train()
        if self.plan.batch_norm == "trained":
            return
        for part in self.learner.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()

    def _close_epoch(self, facts: dict[str, Any]) -> None:
        accuracy, loss = self.validate()
        facts["epoch"], facts["step"] = facts["epoch"] + 1, 0
        total, right, count = facts["sums"]
        row = {
            "phase": "finetune",
            "epoch": 1 + sum(r["phase"] == "finetune" for r in facts["rows"]),
            "step_name": self.plan.name,
            "learning_rate": facts["rate"],
            "train_loss": total / count,
            "train_accuracy": right / count,
            "seconds": facts["seconds"],
        }
        if self.val is not None:
            row |= {"val_loss": loss, "val_accuracy": accuracy}
        facts["rows"] = [*facts["rows"], row]
        facts["sums"], facts["seconds"] = [0.0, 0, 0], 0.0
        best = facts["best"]
        better = (accuracy, -loss) > (best["accuracy"], -best["loss"]) and math.isfinite(loss)
        if self.val is None or better:
            facts["best"] = {
                "accuracy": accuracy,
                "loss": loss,
                "epoch": row["epoch"],
                "within": facts["epoch"],
            }
            facts["wait"] = 0
            checkpoints.save_checkpoint(self.best, self.judge, None, {})
        else:
            facts["wait"] += 1
            facts["finished"] = facts["wait"] >= self.config.patience

    def _give_up(self, facts: dict[str, Any]) -> None:
        facts["finished"] = True
        progress.say(
            f"The loss is not a finite number any more (step {facts['step']} of epoch "
            f"{facts['epoch'] + 1}): the learning rate {self.plan.rate:g} is probably too high. "
            "The best layers so far are kept; try a tenth of it with --learning-rate."
        )

    def _take_best(self, facts: dict[str, Any]) -> None:
        best = checkpoints.load_checkpoint(self.best)
        if best is None:
            raise RunError(
                f"{self.best} is missing: the best layers of this phase. Delete {self.last}, too, "
                "to train the phase again."
            )
        checkpoints.restore(best, self.judge)
        self.judge.eval()
        facts["finished"] = True

    def _save(self, facts: dict[str, Any]) -> None:
        checkpoints.save_checkpoint(self.last, self.learner, self.optimizer, facts)


def mixed(
    batch: torch.Tensor,
    truth: torch.Tensor,
    config: TrainConfig,
    generator: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019) of a batch with itself, shuffled.

    Args:
        batch: activations [B, C, H, W] or [B, …].
        truth: [B, K] shares per class.
        config: `mixup` and `cutmix` are the alphas; both off leaves the batch as it is,
            both on draws one of them.
        generator: of this step.

    Differs from the papers where the batch is not pixels but activations at the cut. CutMix
    needs square maps [B, C, H, H]; anything else (tokens, channels last) is mixed up instead.
    """
    choices = [name for name in ("mixup", "cutmix") if getattr(config, name) > 0]
    if not choices:
        return batch, truth
    name = choices[int(generator.integers(len(choices)))]
    alpha = getattr(config, name)
    share = float(generator.beta(alpha, alpha))
    other = torch.from_numpy(generator.permutation(len(batch)))
    if name == "cutmix" and batch.ndim == 4 and batch.shape[2] == batch.shape[3]:
        batch, share = _pasted(batch, batch[other], share, generator)
    else:
        batch = share * batch + (1 - share) * batch[other]
    return batch, share * truth + (1 - share) * truth[other]


@contextlib.contextmanager
def _seeded(generator: np.random.Generator, device: torch.device) -> Iterator[None]:
    """What torch draws inside the block comes from `generator`; outside nothing changes."""
    accelerators = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=accelerators):
        torch.manual_seed(int(generator.integers(2**63)))
        yield


def _pasted(
    batch: torch.Tensor, other: torch.Tensor, share: float, generator: np.random.Generator
) -> tuple[torch.Tensor, float]:
    height, width = batch.shape[-2:]
    side = math.sqrt(1 - share)
    high, wide = round(height * side), round(width * side)
    top = int(generator.integers(height - high + 1))
    left = int(generator.integers(width - wide + 1))
    result = batch.clone()
    window = (..., slice(top, top + high), slice(left, left + wide))
    result[window] = other[window]
    return result, 1 - high * wide / (height * width)
