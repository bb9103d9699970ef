"""Shapes of what goes into a layer and comes out of it, and the first layer that doesn't fit.

A pass over a copy whose tensors have shapes and no values (PyTorch's meta device): it takes
no memory and no time to speak of, and leaves nothing behind in the network. The layer that
doesn't fit is the innermost one that was running when the pass failed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bowerbird.errors import ModelError
from bowerbird.models.layers import LAYERS, build
from bowerbird.models.meta import on_meta

__all__ = ["Shape", "shape_after", "shape_before", "shape_of_output", "words"]

Shape = tuple[int, ...]


def shape_before(module: nn.Module, place: str, shape: Shape) -> Shape:
    """What comes into the layer at `place` when an input of `shape` goes into the network.

    Raises:
        ModelError: a layer before it doesn't fit, or the layer doesn't run.
    """
    return _Pass(module).run(shape, before=place)


def shape_after(module: nn.Module, place: str, shape: Shape) -> Shape:
    """What comes out of the layer at `place`; see `shape_before`."""
    return _Pass(module).run(shape, after=place)


def shape_of_output(module: nn.Module, shape: Shape) -> Shape:
    """What comes out of the network.

    Raises:
        ModelError: names the first layer that doesn't fit, what it takes, what it gets, and
            the operation of `surgery` that would mend it.
    """
    return _Pass(module).run(shape)


def words(shape: Shape) -> str:
    """The shape of one image's values, e.g. ``256 × 6 × 6``."""
    return " × ".join(map(str, shape[1:])) or "one value"


class _Reached(Exception):
    """The pass has come to the place it was for."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape


class _Pass:
    """A pass over a copy of a network whose tensors have no values."""

    def __init__(self, module: nn.Module) -> None:
        self.copy = on_meta(module).eval()
        self.running: list[tuple[str, nn.Module, Any]] = []

    def run(self, shape: Shape, *, before: str | None = None, after: str | None = None) -> Shape:
        """Shape of the output, or of what comes into or out of a place."""
        for name, part in self.copy.named_modules(remove_duplicate=False):
            part.register_forward_pre_hook(self._enter(name, name == before))
            part.register_forward_hook(self._leave(name == after))
        try:
            with torch.no_grad():
                found = self.copy(torch.empty(shape, device="meta"))
        except _Reached as reached:
            return reached.shape
        except ModelError:
            raise
        except Exception as error:  # the network's own code meets shapes it was not made for
            raise ModelError(self._misfit(error)) from error
        place = before or after
        if place is not None:
            raise ModelError(f"{place} doesn't run when the network looks at an image.")
        return _shape_of(found)

    def _enter(self, name: str, wanted: bool) -> Callable[..., None]:
        def hook(part: nn.Module, args: Any) -> None:
            came = args[0] if args else None
            if wanted:
                raise _Reached(_shape_of(came))
            self.running.append((name, part, came))

        return hook

    def _leave(self, wanted: bool) -> Callable[..., None]:
        def hook(part: nn.Module, args: Any, output: Any) -> None:
            self.running.pop()
            if wanted:
                raise _Reached(_shape_of(output))

        return hook

    def _misfit(self, error: Exception) -> str:
        name, part, came = self.running[-1]
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        title = f"{name} ({_title(part)})" if name else type(part).__name__
        shape = _shape_of(came) if torch.is_tensor(came) else ()
        found = _misfit_size(part, shape)
        if found is None:
            what = f", {words(shape)}" if len(shape) > 1 else ""
            return f"The network can't run: {title} can't work on what comes in{what}: {reason}."
        takes, gets, unit = found
        mend = _mended(name, part, gets)
        hint = f" Mend it with the surgery: {mend}" if mend else ""
        return f"The network can't run: {title} takes {takes} {unit}, and gets {gets}.{hint}"


def _shape_of(value: Any) -> Shape:
    if not torch.is_tensor(value):
        raise ModelError(f"Expected one tensor there, found {type(value).__name__}.")
    return tuple(value.shape)


def _title(part: nn.Module) -> str:
    inside = part.extra_repr() if not any(part.children()) else ""
    return f"{type(part).__name__}({inside})" if inside else type(part).__name__


def _misfit_size(part: nn.Module, shape: Shape) -> tuple[int, int, str] | None:
    """What a layer takes and what it gets, where that is the trouble, and what it counts."""
    if isinstance(part, nn.Linear) and shape:
        found = (part.in_features, shape[-1], "values")
    elif isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d) and len(shape) > 1:
        found = (part.in_channels, shape[1], "channels")
    elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) and len(shape) > 1:
        found = (part.num_features, shape[1], "channels")
    else:
        return None
    return None if found[0] == found[1] else found


def _mended(name: str, part: nn.Module, size: int) -> str | None:
    """The operation that makes a layer of `torch.nn` fit, if there is one."""
    kind = type(part).__name__
    if type(part) is not LAYERS.get(kind):
        return None
    if isinstance(part, nn.Linear):
        layer = f"Linear(_, {part.out_features}{'' if part.bias is not None else ', bias=False'})"
    else:
        _, *others = part.extra_repr().split(", ")
        layer = f"{kind}({', '.join(['_', *others])})"
    try:
        with torch.device("meta"):
            build(layer.replace("_", str(size), 1), tuple)
    except ModelError:
        return None  # a grouped convolution, whose groups would have to change, too
    return f"replace {name} {layer}"
