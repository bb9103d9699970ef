"""Changes to the layers of a network, written as lines of text.

::

    cut features.6                                      away with it and what follows it
    append features Conv2d(_, 512, 3, padding=1)        at the end of a Sequential, or
                                                        behind one layer
    insert features.3 BatchNorm2d(_)                    in front of a layer
    replace classifier.1 Linear(_, 4096, bias=False)    in the place of a layer

PLACE is a module's path as the network stands by then. A layer is a class of `torch.nn`
with plain values (`layers`); ``_`` is the size that comes in, worked out from the shapes
(`shapes`).

Decisions:
- Only a `torch.nn.Sequential` can be cut, since only there the order of the layers is known.
  A layer that is put beside one that stands in no Sequential makes a new Sequential of both,
  at that one's path.

Weights are loaded before, the classifier is set afterwards, both in `networks`.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from typing import Any

from torch import nn

from bowerbird.errors import ModelError
from bowerbird.models.layers import build
from bowerbird.models.shapes import Shape, shape_after, shape_before, shape_of_output, words

__all__ = ["check", "perform", "sizes_into"]


@dataclasses.dataclass(frozen=True)
class _Operation:
    verb: str
    place: str
    layer: str

    def __str__(self) -> str:
        return f"{self.verb} {self.place} {self.layer}".rstrip()


def perform(module: nn.Module, operations: Sequence[str], shape: Shape) -> tuple[str, ...]:
    """Change a network in place, one operation after the other.

    Args:
        module: the network.
        operations: lines as above.
        shape: of an input, ``(B, C, H, W)``.

    Returns:
        The operations with every ``_`` replaced by its size: they rebuild the same layers.

    Raises:
        ModelError: an operation can't be read, names what isn't there, or the layers before
            its place don't fit together.
    """
    return tuple(str(_perform(module, _parsed(line), shape)) for line in operations)


def check(module: nn.Module, shape: Shape) -> Shape:
    """Shape of what a network gives for an input of `shape`.

    Raises:
        ModelError: a layer doesn't fit; names the first one, what it takes, what it gets, and
            the operation that would mend it. Or the result is not one row per image.
    """
    found = shape_of_output(module, shape)
    if len(found) != 2 or found[0] != shape[0]:
        raise ModelError(
            f"The network gives {words(found)} for each image instead of one score per class. Put "
            "back what is missing with the surgery, e.g. append PLACE Flatten(1)."
        )
    return found


def sizes_into(module: nn.Module, places: Sequence[str], shape: Shape) -> dict[str, int]:
    """The size that comes into each of some linear layers or convolutions.

    Raises:
        ModelError: a layer before one of them doesn't fit.
    """
    sizes = {}
    for place in places:
        came = shape_before(module, place, shape)
        sizes[place] = came[1 if isinstance(module.get_submodule(place), nn.Conv2d) else -1]
    return sizes


def _parsed(line: str) -> _Operation:
    verb, _, rest = line.strip().partition(" ")
    place, _, layer = rest.strip().partition(" ")
    if verb not in ("cut", "append", "insert", "replace") or not place:
        raise ModelError(
            f"The surgery {line!r} can't be read. Write: cut PLACE, append PLACE LAYER, insert "
            "PLACE LAYER or replace PLACE LAYER."
        )
    if bool(layer.strip()) == (verb == "cut"):
        raise ModelError(
            f"The surgery {line!r} can't be read: {verb} takes a place "
            f"{'only' if verb == 'cut' else 'and a layer, e.g. ReLU()'}."
        )
    return _Operation(verb, place, layer.strip())


def _perform(module: nn.Module, operation: _Operation, shape: Shape) -> _Operation:
    old = _at(module, operation.place)
    if operation.verb == "cut":
        _cut(module, operation.place)
        return operation

    def incoming() -> Shape:
        if operation.verb == "append":
            return shape_after(module, operation.place, shape)
        return shape_before(module, operation.place, shape)

    layer, resolved = build(operation.layer, incoming)
    if operation.verb == "append":
        _append(module, operation.place, old, layer)
    elif operation.verb == "insert":
        _insert(module, operation.place, old, layer)
    else:
        module.set_submodule(operation.place, layer)
    return dataclasses.replace(operation, layer=resolved)


def _at(module: nn.Module, place: str) -> nn.Module:
    names = [name for name, _ in module.named_modules(remove_duplicate=False) if name]
    if place not in names:
        close = difflib.get_close_matches(place, names, n=3, cutoff=0.5)
        tops = ", ".join(name for name, _ in module.named_children())
        hint = f"Did you mean {' or '.join(close)}?" if close else f"Its parts: {tops}."
        raise ModelError(f"{type(module).__name__} has no layer {place!r}. {hint}")
    found = module.get_submodule(place)
    if isinstance(found, nn.ModuleList | nn.ModuleDict):
        raise ModelError(
            f"{place} is a list of parts that the network goes through in its own way. Name one "
            f"of them, e.g. {next((f'{place}.{n}' for n, _ in found.named_children()), place)}."
        )
    return found


def _in_order(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _parent(module: nn.Module, place: str) -> tuple[nn.Module, str]:
    path, _, name = place.rpartition(".")
    return module.get_submodule(path), name


def _cut(module: nn.Module, place: str) -> None:
    parent, name = _parent(module, place)
    if not _in_order(parent):
        raise ModelError(
            f"{place} can't be cut off: {type(parent).__name__} runs its parts in its own way, "
            f"not one after the other. Take it out alone with: replace {place} Identity()"
        )
    names = list(parent._modules)
    for later in names[names.index(name) :]:
        delattr(parent, later)


def _append(module: nn.Module, place: str, old: nn.Module, layer: nn.Module) -> None:
    parent, name = _parent(module, place)
    if isinstance(old, nn.Sequential) and _in_order(old):
        _put(old, len(old), layer)
    elif isinstance(parent, nn.Sequential) and _in_order(parent):
        _put(parent, list(parent._modules).index(name) + 1, layer)
    else:
        module.set_submodule(place, nn.Sequential(old, layer))


def _insert(module: nn.Module, place: str, old: nn.Module, layer: nn.Module) -> None:
    parent, name = _parent(module, place)
    if isinstance(parent, nn.Sequential) and _in_order(parent):
        _put(parent, list(parent._modules).index(name), layer)
    else:
        module.set_submodule(place, nn.Sequential(layer, old))


def _put(sequence: nn.Sequential, index: int, layer: nn.Module) -> None:
    """Put a layer at `index`; parts that are numbered stay so, others keep their names."""
    parts: list[tuple[str, Any]] = list(sequence._modules.items())
    numbered = all(name.isdecimal() for name, _ in parts)
    new = "added"
    while new in sequence._modules:
        new += "_"
    sequence._modules.clear()
    for number, (name, part) in enumerate([*parts[:index], (new, layer), *parts[index:]]):
        sequence.add_module(str(number) if numbered else name, part)
