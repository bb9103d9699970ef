"""Several processes that train one network: torchrun starts them, accelerate joins them.

Each process takes its share of every batch; gradients are summed before the optimizer's
step, so that all hold the same layers, and the same as one process would with the whole
batch. The first process alone writes to disk. With one process every function here is
free, and accelerate is not imported.

Gradients are summed by hand, in one piece, rather than by a wrapper around the module:
which layers learn changes from epoch to epoch, and a suffix is no module of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from bowerbird.errors import RunError

__all__ = [
    "average_statistics",
    "count",
    "device",
    "from_main",
    "is_main",
    "rank",
    "sum_gradients",
    "total",
    "wait",
]

T = TypeVar("T")


def count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process's number, from 0."""
    return int(_state().process_index) if count() > 1 else 0


def is_main() -> bool:
    """Whether this process writes to disk and speaks."""
    return rank() == 0


def device(wanted: str) -> str:
    """This process's own device, where several share a machine's GPUs."""
    if count() == 1 or wanted == "cpu":
        return wanted
    return str(_state().device)


def wait() -> None:
    """Until all processes have come here."""
    if count() > 1:
        with _together():
            _state().wait_for_everyone()


def from_main(make: Callable[[], T]) -> T:
    """What `make` returns in the first process; the others are sent it.

    An error there is raised everywhere.
    """
    if count() == 1:
        return make()
    from accelerate.utils import broadcast_object_list

    sent: list[Any] = [None, None]
    if is_main():
        try:
            sent[0] = make()
        except Exception as error:
            sent[1] = error
    with _together():
        broadcast_object_list(sent)
    if sent[1] is not None:
        raise sent[1]
    found: T = sent[0]
    return found


def total(values: Iterable[float]) -> list[float]:
    """Sums over all processes, in float64."""
    held = list(values)
    if count() == 1:
        return held
    from accelerate.utils import reduce

    with _together():
        summed = reduce(torch.tensor(held, dtype=torch.float64, device=_place()), "sum")
    return [float(value) for value in summed]


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its sum over all processes."""
    if count() == 1:
        return
    _reduce([p.grad for p in parameters if p.grad is not None], "sum")


def average_statistics(part: nn.Module) -> None:
    """Replace batch-norm's statistics that learn by their mean over all processes.

    A process sees its own images only; as in torch's own data parallelism, a batch is
    normalised by the share of it that a process has.
    """
    if count() == 1:
        return
    norms = [m for m in part.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    learning = [norm for norm in norms if norm.training]
    _reduce([b for n in learning for b in n.buffers() if b.is_floating_point()], "mean")


@torch.no_grad()
def _reduce(tensors: Sequence[torch.Tensor], how: str) -> None:
    from accelerate.utils import reduce

    if not tensors:
        return
    with _together():
        found = reduce(torch.cat([tensor.flatten() for tensor in tensors]), how)
    start = 0
    for tensor in tensors:
        tensor.copy_(found[start : start + tensor.numel()].view_as(tensor))
        start += tensor.numel()


@contextlib.contextmanager
def _together() -> Iterator[None]:
    """What all processes do at once fails where one of them has ended."""
    _state()  # before accelerate makes one that knows of no other process
    try:
        yield
    except RuntimeError as error:
        raise RunError(
            "Another of the processes that train together has ended; its own message says why. "
            "What was saved is intact: go on with `bowerbird resume`."
        ) from error


def _place() -> torch.device:
    found: torch.device = _state().device
    return found


@functools.cache
def _state() -> Any:
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    atexit.register(state.destroy_process_group)  # else its threads may keep the process alive
    return state
