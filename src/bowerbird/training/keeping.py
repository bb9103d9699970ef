"""What a phase keeps: its last state, its best layers, and the epochs that may be averaged.

Of several processes only the first one writes. Where a moving average is kept, it is what
counts as the layers.
"""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bowerbird.errors import RunError
from bowerbird.training import checkpoint as checkpoints
from bowerbird.training import processes
from bowerbird.training.averaging import MovingAverage, mean_of

__all__ = ["Files", "Keeper"]


@dataclasses.dataclass(frozen=True)
class Files:
    """Where a phase keeps its state.

    Attributes:
        last: all that the next step depends on.
        best: the layers of the best epoch.
    """

    last: Path
    best: Path

    def epoch(self, number: int) -> Path:
        """The layers of an epoch that may go into the soup."""
        return self.best.with_name(f"{self.best.stem}-epoch-{number}.safetensors")


class Keeper:
    """Writes a phase's layers and reads them back.

    Args:
        files: where they go.
        whole: all layers that the phase ever trains.
        optimizer: over their parameters.
        average: their moving average, or None.
    """

    def __init__(
        self,
        files: Files,
        whole: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: MovingAverage | None,
    ) -> None:
        self.files, self.whole, self.optimizer, self.average = files, whole, optimizer, average

    def note_step(self) -> None:
        """The optimizer has made a step."""
        if self.average is not None:
            self.average.update()

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """The layers hold their moving average for the length of the block."""
        return contextlib.nullcontext() if self.average is None else self.average.applied()

    def save(self, facts: dict[str, Any]) -> None:
        """Write all that the next step depends on."""
        if not processes.is_main():
            return
        average, updates = None, 0
        if self.average is not None:
            average, updates = self.average.values, self.average.updates
        facts = facts | {"updates": updates}
        checkpoints.save_checkpoint(self.files.last, self.whole, self.optimizer, facts, average)

    def restore(self, saved: checkpoints.Checkpoint) -> None:
        """Put back what `save` wrote."""
        checkpoints.restore(saved, self.whole, self.optimizer)
        values = saved.named("average")
        if self.average is not None and values:  # none where the phase had come to its end
            self.average.restore(values, saved.facts["updates"])

    def finite(self) -> bool:
        """Whether all layers hold finite values only."""
        values = [v for v in self.whole.state_dict().values() if v.is_floating_point()]
        return all(bool(torch.isfinite(value).all()) for value in values)

    def keep_best(self) -> None:
        """The present layers are the best ones."""
        self._write(self.files.best)

    def take_best(self) -> None:
        """The layers are the best ones again; a moving average ends.

        Raises:
            RunError: their file is missing or damaged.
        """
        checkpoints.restore(self._read(self.files.best), self.whole)
        self.average = None  # what was kept is the average already

    def keep_epoch(self, facts: dict[str, Any], entry: list[float], *, most: int) -> None:
        """Enter an epoch (accuracy, -loss, number) into ``facts["soup"]``, if among the best."""
        ranked = sorted([*facts["soup"], entry], reverse=True)
        facts["soup"] = ranked[:most]
        if entry in facts["soup"]:
            self._write(self.files.epoch(int(entry[2])))

    def drop_epochs(self, facts: dict[str, Any]) -> None:
        """Delete the files of epochs that are out of the soup; `facts` are saved already."""
        kept = {self.files.epoch(int(entry[2])) for entry in facts["soup"]}
        if processes.is_main():
            for file in self.files.best.parent.glob(self.files.epoch(0).stem[:-1] + "*"):
                if file not in kept:
                    file.unlink(missing_ok=True)

    def put_mean(self, facts: dict[str, Any]) -> None:
        """The layers become the mean of the epochs in ``facts["soup"]``."""
        found = [self._read(self.files.epoch(int(entry[2]))) for entry in facts["soup"]]
        self.whole.load_state_dict(mean_of([state.named("model") for state in found]))

    def _write(self, file: Path) -> None:
        if processes.is_main():
            with self.averaged():
                checkpoints.save_checkpoint(file, self.whole, None, {})

    def _read(self, file: Path) -> checkpoints.Checkpoint:
        found = checkpoints.load_checkpoint(file)
        if found is None:
            raise RunError(
                f"{file} is missing: the best layers of this phase. Delete {self.files.last}, "
                "too, to train the phase again."
            )
        return found
