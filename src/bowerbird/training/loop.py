"""One phase of training: the layers after a cut learn, the ones before it are frozen.

The loop is `Phase.run`: for each epoch, for each group of batches, one step; then
validation, and the best layers kept. Everything the next step depends on is in `facts`,
the layers, the optimizer and the moving average, and goes to disk together: at the end
of each epoch, once a minute, and when someone asks to stop.

Decisions:
- Batch-norm keeps its pretrained statistics (evaluation mode); its scale and shift learn.
  Where it trains (random weights, or asked for), a last batch of one image is left out.
- The best epoch is chosen on validation accuracy, then loss. The state before the phase
  is a candidate too, so a phase can't make things worse on validation.
- It ends early when the last step no longer improves on itself: scores fall when a step begins,
  and rise again, whether or not they have come back to the best one yet.
- A loss that is not finite stops the phase; the best layers so far are kept.
- Where memory runs out, batches are halved once and their number doubled: the same step.
- Dropout draws from torch's global generator; each step seeds it and puts it back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from bowerbird import progress
from bowerbird.config import TrainConfig
from bowerbird.training import memory, optim, processes, schedule
from bowerbird.training.averaging import MovingAverage
from bowerbird.training.batches import Batches, Rows, order
from bowerbird.training.checkpoint import Checkpoint
from bowerbird.training.interrupts import StopSignal
from bowerbird.training.keeping import Files, Keeper
from bowerbird.training.mixing import mixed
from bowerbird.training.phases import PhasePlan

__all__ = ["Phase", "Piece", "Truth", "training_mode"]

_SAVE_EVERY = 60.0
_VALIDATION_ROWS = 64


@dataclasses.dataclass(frozen=True)
class Piece:
    """The network from a cut on, with what goes into it.

    Attributes:
        learner: the part in its training form.
        judge: the same layers in their evaluation form.
        batches: training activations at the cut.
        held: validation activations at the cut, or None.
    """

    learner: nn.Module
    judge: nn.Module
    batches: Batches
    held: Batches | None


@dataclasses.dataclass(frozen=True)
class Truth:
    """The right answers.

    Attributes:
        train: class index per training row [N].
        val: class index per validation row [M], or None.
        num_classes: K, scores per row.
        weights: [K] factors in the loss, or None.
    """

    train: npt.NDArray[Any]
    val: npt.NDArray[Any] | None
    num_classes: int
    weights: torch.Tensor | None = None


class Phase:
    """A phase that can be run, saved at any step, and gone on with.

    Args:
        plan: what to do.
        piece: makes the piece of a step of the plan, by its number.
        whole: the piece with the most layers that are ever trained, in training form.
        optimizer: over the parameters of `whole`.
        truth: the right answers.
        config: smoothing, mixing, schedule, patience, balance, seed.
        files: where the state goes.
        stop: asked after each step.
        report: given the history rows after each epoch.
    """

    piece: Piece

    def __init__(
        self,
        plan: PhasePlan,
        piece: Callable[[int], Piece],
        whole: nn.Module,
        optimizer: torch.optim.Optimizer,
        truth: Truth,
        config: TrainConfig,
        files: Files,
        stop: StopSignal,
        report: Callable[[list[dict[str, Any]]], None],
    ) -> None:
        self.plan, self.config, self.truth = plan, config, truth
        self.whole, self.optimizer, self.stop, self.report = whole, optimizer, stop, report
        average = MovingAverage(whole, config.ema) if config.ema else None
        self.keeper = Keeper(files, whole, optimizer, average)
        self.device = next(whole.parameters()).device
        self.batch = memory.size(config)
        self.group = self.batch * config.accumulate
        full, rest = divmod(len(truth.train), self.group)
        self.least = 2 * processes.count() if plan.batch_norm == "trained" else 1
        self.steps = max(1, full + (rest >= self.least))
        self._make_piece, self._number, self._agreed = piece, -1, False
        self._at(0)

    def run(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Train to the end of the phase; returns the facts, with its history rows.

        Args:
            facts: of `start`, or of the checkpoint that was restored.

        Raises:
            Interrupted: someone asked to stop; the state is saved.
        """
        self.batch = facts["batch"]
        total = self.plan.epochs * self.steps
        done = facts["epoch"] * self.steps + facts["step"]
        with self.stop.deferred(), progress.task(f"Training {self.plan.name}", total) as task:
            task.advance(done)
            last = self.plan.stop_after or self.plan.epochs
            while facts["epoch"] < last and not facts["finished"]:
                self._at(self.plan.step_at(facts["epoch"]))
                if not self._epoch(facts, task):
                    break
            if not self._stopping:
                self._take_best(facts)
            if processes.total([self.stop.requested])[0] > 0:  # all are stopped, or none
                self.stop.requested = True
        return facts

    def start(self, facts: dict[str, Any]) -> dict[str, Any]:
        """The facts at the beginning: the present layers are the best so far."""
        accuracy, loss = self.validate()
        started = facts | {
            "epoch": 0,
            "step": 0,
            "batch": self.batch,
            "sums": [0.0, 0, 0],
            "seconds": 0.0,
            "losses": [],
            "soup": [],
            "finished": False,
            "best": {"accuracy": accuracy, "loss": loss, "epoch": 0, "within": 0},
        }
        self.keeper.keep_best()
        return started

    def restore(self, saved: Checkpoint) -> None:
        """Go on from a state that was saved."""
        self.keeper.restore(saved)

    def validate(self) -> tuple[float, float]:
        """Accuracy and mean cross-entropy on validation; (0, 0) where there is none."""
        held, targets = self.piece.held, self.truth.val
        if held is None or targets is None:
            return 0.0, 0.0
        self.piece.judge.eval()
        right, loss = 0.0, 0.0
        starts = range(0, len(targets), _VALIDATION_ROWS)
        with torch.inference_mode(), self.keeper.averaged():
            for start in starts[processes.rank() :: processes.count()]:
                rows = np.arange(start, min(start + _VALIDATION_ROWS, len(targets)))
                truth = torch.as_tensor(targets[rows], device=self.device)
                scores = self.piece.judge(held.load(rows, 0).to(self.device).float()).float()
                right += int((scores.argmax(1) == truth).sum())
                loss += float(functional.cross_entropy(scores, truth, reduction="sum"))
        right, loss = processes.total([right, loss])
        return right / len(targets), loss / len(targets)

    def _at(self, number: int) -> None:
        """Take up a step of the plan: its piece, and which of its layers learn."""
        if number == self._number:
            return
        if self._number >= 0:
            self.piece.judge.eval()  # frozen parts run in evaluation mode
        self._number, self.step = number, self.plan.steps[number]
        self.piece = self._make_piece(number)
        for name, parameter in self.piece.learner.named_parameters():
            parameter.requires_grad_(name not in self.step.frozen)

    def _epoch(self, facts: dict[str, Any], task: progress.Task) -> bool:
        """One epoch, or the rest of it; False if asked to stop."""
        rows = order(
            self.truth.train, facts["epoch"], self.config.seed,
            sampler=self.config.balance == "sampler",
        )  # fmt: skip
        training_mode(self.piece.learner, self.plan.batch_norm)
        saved = time.monotonic()
        while facts["step"] < self.steps:
            began = time.monotonic()
            loss = self._advance(rows, facts)
            facts["seconds"] += time.monotonic() - began
            task.advance()
            task.note(f"loss {loss:.3f}")
            if not math.isfinite(loss):
                self._give_up(facts)
                return True
            if self._stopping or time.monotonic() - saved > _SAVE_EVERY:
                self.keeper.save(facts)
                saved = time.monotonic()
                if self._stopping:
                    return False
        self._close_epoch(facts)
        self.keeper.save(facts)
        self.keeper.drop_epochs(facts)
        self.report(facts["rows"])
        return not self._stopping

    @property
    def _stopping(self) -> bool:
        """Whether to stop now; several processes do it after the same step."""
        return self.stop.requested if processes.count() == 1 else self._agreed

    def _advance(self, rows: Rows, facts: dict[str, Any]) -> float:
        """One step of the optimizer; returns the loss. A loss that is not finite moves nothing."""
        step, epoch = facts["step"], facts["epoch"]
        chosen = rows[step * self.group : (step + 1) * self.group]
        share = schedule.share_of_peak(
            epoch * self.steps + step, self.steps, self.plan.epochs, self.config, facts["losses"]
        )
        facts["rate"] = optim.set_rate(self.optimizer, share * self.step.share)
        loss, right, asked = self._gradients(chosen, facts)
        self._agreed = asked
        if math.isfinite(loss):
            if self.config.clip_norm is not None:
                nn.utils.clip_grad_norm_(self.whole.parameters(), self.config.clip_norm)
            self.optimizer.step()
            processes.average_statistics(self.whole)
            self.keeper.note_step()
        sums = facts["sums"]
        facts["sums"] = [sums[0] + loss * len(chosen), sums[1] + right, sums[2] + len(chosen)]
        facts["step"] = step + 1
        return loss

    def _gradients(self, chosen: Rows, facts: dict[str, Any]) -> tuple[float, int, bool]:
        """Gradients of a group of batches, as of one; its mean loss, right ones, and if to stop."""
        try:
            found = self._over_batches(chosen, facts)
        except (MemoryError, RuntimeError) as error:
            facts["batch"] = self.batch = memory.halved(error, self.batch, memory.size(self.config))
            found = None
        if found is None:  # out of `except`, whose error holds on to what the attempt had
            return self._gradients(chosen, facts)
        loss, right, asked = processes.total([*found, float(self.stop.requested)])
        if math.isfinite(loss):  # else some processes may have no gradients
            active = [p for p in self.piece.learner.parameters() if p.requires_grad]
            processes.sum_gradients(active)
        return loss, round(right), asked > 0

    def _over_batches(self, chosen: Rows, facts: dict[str, Any]) -> tuple[float, int]:
        self.optimizer.zero_grad(set_to_none=True)
        loss, right = 0.0, 0
        number = min(math.ceil(len(chosen) / self.batch), max(1, len(chosen) // self.least))
        own = chosen[processes.rank() :: processes.count()]
        each = 1 / len(chosen) if len(own) else 0.0
        # a process without a share takes part all the same: it must have gradients to be summed
        for index, part in enumerate(np.array_split(own if len(own) else chosen[:1], number)):
            seeds = [self.config.seed, facts["epoch"], 4, facts["step"]]
            extra = [index] * (number > 1) + [processes.rank()] * (processes.count() > 1)
            generator = np.random.default_rng([*seeds, *extra])
            if len(part):
                found = self._batch(part, len(part) * each, facts["epoch"], generator)
                loss, right = loss + found[0], right + found[1] * (each > 0)
        return loss, right

    def _batch(
        self, rows: Rows, weight: float, epoch: int, generator: np.random.Generator
    ) -> tuple[float, int]:
        """Add the gradients of a batch, times `weight`; its loss, so weighted, and right ones."""
        batch = self.piece.batches.load(rows, epoch).to(self.device).float()
        targets = torch.from_numpy(self.truth.train[rows]).to(self.device)
        truth = functional.one_hot(targets, self.truth.num_classes).float()
        batch, mixture = mixed(batch, truth, self.config, generator)
        half = self.plan.precision == "bfloat16"
        with (
            _seeded(generator, self.device),
            torch.autocast(self.device.type, torch.bfloat16, enabled=half),
        ):
            scores = self.piece.learner(batch)
        loss = weight * functional.cross_entropy(
            scores.float(),
            mixture,
            weight=self.truth.weights,
            label_smoothing=self.config.label_smoothing,
        )
        value = float(loss.detach())
        if math.isfinite(value):
            loss.backward()  # type: ignore[no-untyped-call]
        return value, int((scores.argmax(1) == targets).sum())

    def _close_epoch(self, facts: dict[str, Any]) -> None:
        accuracy, loss = self.validate()
        facts["epoch"], facts["step"] = facts["epoch"] + 1, 0
        row = self._row(facts)
        if self.truth.val is not None:
            row |= {"val_loss": loss, "val_accuracy": accuracy}
            facts["losses"] = [*facts["losses"], loss]
        else:
            facts["losses"] = list(self.plan.losses[: facts["epoch"]])
        facts["rows"] = [*facts["rows"], row]
        facts["sums"], facts["seconds"] = [0.0, 0, 0], 0.0
        self._consider(facts, accuracy, loss)
        best = facts["best"]
        better = (accuracy, -loss) > (best["accuracy"], -best["loss"]) and math.isfinite(loss)
        if better or (self.truth.val is None and self.keeper.finite()):
            facts["best"] = {
                "accuracy": accuracy,
                "loss": loss,
                "epoch": row["epoch"],
                "within": facts["epoch"],
            }
            self.keeper.keep_best()
        elif self.truth.val is not None and self._number == len(self.plan.steps) - 1:
            mine = facts["rows"][self.step.epoch - facts["epoch"] :]  # those of this step
            facts["finished"] = schedule.waited(mine) >= self.config.patience

    def _row(self, facts: dict[str, Any]) -> dict[str, Any]:
        total, right, count = facts["sums"]
        return {
            "phase": "finetune",
            "epoch": 1 + sum(r["phase"] == "finetune" for r in facts["rows"]),
            "step_name": self.step.name,
            "learning_rate": facts["rate"],
            "train_loss": total / count,
            "train_accuracy": right / count,
            "seconds": facts["seconds"],
        }

    def _give_up(self, facts: dict[str, Any]) -> None:
        facts["finished"] = True
        progress.say(
            f"The loss is not a finite number any more (step {facts['step']} of epoch "
            f"{facts['epoch'] + 1}): the learning rate {self.plan.rate:g} is probably too high. "
            "The best layers so far are kept; try a tenth of it with --learning-rate."
        )

    def _consider(self, facts: dict[str, Any], accuracy: float, loss: float) -> None:
        """Keep the epoch's layers if they may go into the soup."""
        within = facts["epoch"]
        if self.truth.val is None:
            if within in self.plan.soup and self.keeper.finite():
                self.keeper.keep_epoch(facts, [0.0, 0.0, within], most=len(self.plan.soup))
        elif self.config.soup > 1 and math.isfinite(loss):
            self.keeper.keep_epoch(facts, [accuracy, -loss, within], most=self.config.soup)

    def _take_best(self, facts: dict[str, Any]) -> None:
        self._at(len(self.plan.steps) - 1)
        processes.wait()
        self.keeper.take_best()
        self.piece.judge.eval()
        if len(facts["soup"]) > 1 and not facts.get("souped"):
            self._stir(facts)
        facts["finished"] = True

    def _stir(self, facts: dict[str, Any]) -> None:
        """Average the best epochs, and keep the result if validation says that it is better."""
        self.keeper.put_mean(facts)
        accuracy, loss = self.validate()
        best = facts["best"]
        epochs = sorted(entry[2] for entry in facts["soup"])
        better = (accuracy, -loss) > (best["accuracy"], -best["loss"]) and math.isfinite(loss)
        if self.truth.val is None or better:
            facts["best"] = best | {"accuracy": accuracy, "loss": loss, "soup": epochs}
            self.keeper.keep_best()
            progress.say(f"The mean of epochs {', '.join(map(str, epochs))} is kept.")
        else:
            self.keeper.take_best()
        facts["souped"] = True
        self.keeper.save(facts)


def training_mode(part: nn.Module, batch_norm: str) -> None:
    """Training mode for all layers; batch-norm's only where it is ``"trained"``."""
    part.train()
    if batch_norm == "trained":
        return
    for layer in part.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()


@contextlib.contextmanager
def _seeded(generator: np.random.Generator, device: torch.device) -> Iterator[None]:
    """What torch draws inside the block comes from `generator`; outside nothing changes."""
    accelerators = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=accelerators):
        torch.manual_seed(int(generator.integers(2**63)))
        yield
