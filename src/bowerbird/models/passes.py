"""One pass of an image through a network, watched: what ran, what it gave, what it cost.

The pass is made with a copy without values (PyTorch's meta device), which is thrown away
with its hooks; the network itself stays as it was. Where a network's code looks at values,
a copy full of zeros is used instead.

A multiply-add is one multiplication and one addition. Convolutions, linear layers and
matrix products (attention) are counted, by PyTorch's own ``FlopCounterMode``; additions,
normalisation and activations are not, as usual in papers.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bowerbird.errors import ModelError
from bowerbird.models.meta import on_meta

__all__ = ["Call", "watched"]

_FAILURES = (RuntimeError, ValueError, TypeError, AssertionError, LookupError)


@dataclasses.dataclass
class Call:
    """One run of a module.

    Attributes:
        path: of the module; empty for the network.
        module: it, in the copy.
        shape: of what it gives for one image; of several tensors the first one's.
        multiply_adds: its own, without those of its parts.
    """

    path: str
    module: nn.Module
    shape: tuple[int, ...] = ()
    multiply_adds: int = 0


def watched(module: nn.Module, size: tuple[int, int, int], *, values: bool = True) -> list[Call]:
    """What runs when an image goes through a network, in the order in which it ends.

    Args:
        module: the network.
        size: channels, height and width of the image.
        values: allow a run with values, which takes the network's time and memory.

    Raises:
        ModelError: it doesn't run on such an image.
    """
    try:
        return _Watch().run(on_meta(module), torch.empty(1, *size, device="meta"))
    except _FAILURES as error:  # its code looks at values, or the size is wrong
        if not values:
            raise _explained(module, size, error) from error
    try:
        return _Watch().run(_with_zeros(module), torch.zeros(1, *size))
    except _FAILURES as error:
        raise _explained(module, size, error) from error


class _Watch:
    """Hooks that write down every call."""

    def __init__(self) -> None:
        self.done: list[Call] = []
        self._running: list[tuple[Call, int]] = []
        self._spent = 0  # by calls that have ended inside the running one
        self._counter = FlopCounterMode(display=False)

    def run(self, copied: nn.Module, image: torch.Tensor) -> list[Call]:
        for path, part in copied.named_modules():
            part.register_forward_pre_hook(self._enter(path))
            part.register_forward_hook(self._leave)
        with torch.no_grad(), self._counter:
            copied.eval().requires_grad_(False)(image)
        return self.done

    def _enter(self, path: str) -> Callable[..., None]:
        def hook(part: nn.Module, args: Any) -> None:
            self._running.append((Call(path, part), self._own()))

        return hook

    def _leave(self, part: nn.Module, args: Any, output: Any) -> None:
        call, before = self._running.pop()
        call.multiply_adds = (self._own() - before) // 2
        self._spent += 2 * call.multiply_adds
        call.shape = _shape(output)
        self.done.append(call)

    def _own(self) -> int:
        """Operations so far that belong to no call that has ended."""
        return self._counter.get_total_flops() - self._spent


def _with_zeros(module: nn.Module) -> nn.Module:
    copied = copy.deepcopy(module)
    tensors = (*copied.parameters(), *copied.buffers())
    if not any(tensor.is_meta for tensor in tensors):
        return copied.cpu()
    copied = copied.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*copied.parameters(), *copied.buffers()):
            tensor.zero_()
    return copied


def _explained(module: nn.Module, size: Sequence[int], error: Exception) -> ModelError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    shape = " × ".join(map(str, size))
    return ModelError(
        f"{type(module).__name__} doesn't run on an image of {shape}: {reason}. Give another size "
        "with --image-size."
    )


def _shape(output: Any) -> tuple[int, ...]:
    if isinstance(output, Mapping):
        output = list(output.values())
    while isinstance(output, list | tuple) and output:
        output = output[0]
    return tuple(output.shape[1:]) or (1,) if torch.is_tensor(output) else ()
