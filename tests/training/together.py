"""What two processes do together, for `test_processes`: a script that torchrun starts twice.

Each check leaves what it found in ``FOLDER/NAME-RANK.json``, and the layers that it trained
beside it. What they must be, the test knows.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from bowerbird.errors import BowerbirdError, ConfigError, Interrupted
from bowerbird.training import processes
from bowerbird.training.batches import order
from bowerbird.training.interrupts import StopSignal
from bowerbird.training.loop import Phase
from training.toys import clouds, layers, make, run, values, without_times

RANK = int(os.environ.get("RANK", "0"))
Facts = dict[str, Any]


def sgd(part: nn.Module, _: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": part.parameters(), "peak": 0.1}], lr=0.0, momentum=0.9)


class Short(nn.Module):
    """Runs out of memory once, in the second process alone."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.calls = layers(), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        if self.training and self.calls == 3 and RANK == 1:
            raise MemoryError
        out: torch.Tensor = self.inner(x)
        return out


TRAINED: dict[str, Facts] = {
    "plain": {},
    "a batch of one": {"rows": clouds(9)},  # the second process has no share of it
    "odd": {"rows": clouds(47), "batch_size": 7},
    "accumulated": {"batch_size": 4, "accumulate": 3, "label_smoothing": 0.2},
    "weighted": {"weights": torch.tensor([0.2, 1.0, 3.0])},
    "averaged": {"ema": 0.8, "soup": 2, "clip_norm": 0.3},
    "without validation": {"validated": False},
}
"""Phases that must end as in one process."""


def phase(folder: Path, **settings: Any) -> Phase:
    folder.mkdir(exist_ok=True)
    return make(folder, made_by=sgd, epochs=2, **settings)


def found(trained: Phase, facts: Facts) -> Facts:
    return {
        "rows": without_times(facts),
        "best": facts["best"],
        "batch": facts["batch"],
        "values": values(trained.whole),
    }


def one_whole(name: str, folder: Path) -> Facts:
    trained = phase(folder, **TRAINED[name])
    return found(trained, run(trained))


def sums(folder: Path) -> Facts:
    torch.manual_seed(RANK)
    part = nn.Conv2d(3, 4, 3, bias=False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    others = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(()))]
    part.weight.grad = torch.full_like(part.weight, RANK + 1.0)
    part.weight.grad[0, 1, 2, 0] = 10.0 ** (2 * RANK)
    others[1].grad = torch.tensor(0.5)
    processes.sum_gradients([part.weight, *others])
    assert part.weight.grad is not None
    return {
        "total": processes.total([RANK + 1, 0.25, 1e16 if RANK else 1.0]),
        "grad": part.weight.grad.tolist(),
        "none": others[0].grad is None,
        "scalar": float(others[1].grad),
        "layout": part.weight.grad.is_contiguous(memory_format=torch.channels_last),
        "rank": processes.rank(),
        "count": processes.count(),
        "main": processes.is_main(),
        "device": processes.device("cpu"),
    }


def from_first(folder: Path) -> Facts:
    called = []

    def made() -> Any:
        called.append(RANK)
        return {"path": Path("a/b"), "rank": RANK}

    def failing() -> None:
        raise ConfigError("This went wrong.")

    sent = processes.from_main(made)
    try:
        processes.from_main(failing)
    except ConfigError as error:
        words = str(error)
    return {"sent": [str(sent["path"]), sent["rank"]], "called": called, "words": words}


def not_finite(folder: Path) -> Facts:
    """In the share of the second process alone."""
    rows, targets = clouds(24)
    rows[order(targets, 0, 0, sampler=False)[9]] = torch.nan  # in the second step
    trained = phase(folder, rows=(rows, targets))
    return found(trained, run(trained))


def stopped(folder: Path) -> Facts:
    """Asked of the second process alone, in the middle of a step."""
    stop = StopSignal()

    def hook(load: int) -> None:
        if RANK == 1 and load == 3:
            stop.receive()

    trained = phase(folder, hook=hook, stop=stop)
    try:
        run(trained)
    except Interrupted:
        return {"stopped": True, "values": values(trained.whole)}
    return {"stopped": False}


def stopped_at_the_end(folder: Path) -> Facts:
    """Asked of the first process alone, after the last step."""
    stop = StopSignal()
    trained = phase(folder, stop=stop)
    validate, calls = trained.validate, 0

    def validated() -> tuple[float, float]:
        nonlocal calls
        calls += 1
        if RANK == 0 and calls == 3:
            stop.receive()
        return validate()

    trained.validate = validated  # type: ignore[method-assign]
    try:
        run(trained)
    except Interrupted:
        return {"stopped": True}
    return {"stopped": False}


def statistics(folder: Path) -> Facts:
    trained = phase(folder, rows=clouds(21), batch_norm="trained", batch_size=6, ema=0.5)
    sizes: list[int] = []
    trained.whole[1].register_forward_pre_hook(  # type: ignore[index,operator]
        lambda layer, given: sizes.append(len(given[0])) if layer.training else None
    )
    return found(trained, run(trained)) | {"sizes": sizes}


def features(folder: Path) -> Facts:
    """Each process computes its share."""
    from bowerbird.config import TrainConfig
    from bowerbird.features import FeatureCache, Image
    from bowerbird.features.extraction import Extractor
    from bowerbird.models.networks import create_model
    from bowerbird.storage import hash_file
    from bowerbird.training.batches import Part, features_of

    files = sorted(Path(os.environ["SHAPES"]).rglob("*.png"))[:9]
    network = create_model("test_resnet", num_classes=3, weights="none", image_size=32)
    config = TrainConfig(precision="float32")
    extractor = Extractor(network, precision=config.precision)
    seen: list[int] = []
    run_batch = Extractor.__call__

    def counted(self: Extractor, pixels: Any) -> torch.Tensor:
        seen.append(len(pixels))
        return run_batch(self, pixels)

    Extractor.__call__ = counted  # type: ignore[method-assign]
    part = Part(tuple(Image(f, hash_file(f)) for f in files), np.zeros(9, dtype=np.int64))
    made = features_of(extractor, part, 1, cache=FeatureCache(), workers=1)
    Extractor.__call__ = run_batch  # type: ignore[method-assign]
    return {"values": {"all": made[0].tensor(np.arange(9)).float().clone()}, "seen": sum(seen)}


def command(folder: Path) -> Facts:
    """The command line, with what it prints."""
    from bowerbird.cli import main

    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            main(["train", "--config", os.environ["RECIPE"]])
        except SystemExit as end:
            code = end.code
    return {"code": code, "output": output.getvalue(), "errors": errors.getvalue()}


def one_has_gone(folder: Path) -> Facts:
    """The last check: the second process runs out of memory, and doesn't come back."""
    try:
        run(phase(folder, module=Short()))
    except BowerbirdError as error:
        return {"words": str(error)}
    return {"words": ""}


CHECKS: dict[str, Callable[[Path], Facts]] = {
    "sums": sums,
    "from first": from_first,
    **{name: lambda folder, name=name: one_whole(name, folder) for name in TRAINED},
    "not finite": not_finite,
    "stopped": stopped,
    "stopped at the end": stopped_at_the_end,
    "statistics": statistics,
    "features": features,
    "command": command,
    "one has gone": one_has_gone,
}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    for name, check in CHECKS.items():
        result = check(folder / name)
        tensors = result.pop("values", {})
        save_file(tensors, folder / f"{name}-{RANK}.safetensors")
        (folder / f"{name}-{RANK}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # a group that has lost a process may abort when it is taken apart
