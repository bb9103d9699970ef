"""Sizes that a network reads off early values and uses late, as the numbers that they are.

Some networks carry the height of an early value along (PiT, XCiT, Twins), or a table that
is computed from it (rotary positions in DINOv3's ViT). So beside the activation something
else is alive nearly everywhere, and there would be few places to cut. A network that
states the image size it is made for (``img_size``) always has the same sizes: they are
found by a run on the meta device, and a suffix begins with them as constants.

Decisions:
- A size that changes with the batch is read off the value at the cut.
- A network that states no image size, or doesn't run at it, keeps its sizes.
- A suffix that holds sizes refuses a value of another shape, so it is never used with
  another image size unnoticed.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping, Sequence, Set
from typing import Any, TypeVar

import torch
from torch import fx, nn

from bowerbird.errors import ModelError
from bowerbird.models.meta import on_meta

__all__ = ["Sizes", "following", "known_sizes", "of_shape", "put", "read_off"]

BATCH = "batch"
"""In place of a number: the batch size."""

_BATCHES = (2, 3)
_ROWS = ((2,), (3,))  # leading sizes of a tensor that has a part for each image
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is known of a network's values.

    Attributes:
        numbers: of nodes that are a size, or a list of sizes: these.
        shapes: of nodes that hold a value for each image: its shape.
    """

    numbers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)


def read_off(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that read the shape of a value."""
    return {
        node
        for node in graph.nodes
        if (node.op == "call_function" and node.target is getattr and node.args[1] == "shape")
        or (node.op == "call_method" and node.target in ("size", "dim"))
    }


def following(graph: fx.Graph, sizes: Set[fx.Node], varying: Set[fx.Node]) -> set[fx.Node]:
    """These nodes, and all that depend on the input through them alone."""
    found = set(sizes)
    for node in graph.nodes:
        inputs = varying & set(node.all_input_nodes)
        if inputs and inputs <= found and node.op != "output":
            found.add(node)
    return found


def known_sizes(module: nn.Module, graph: fx.GraphModule) -> Sizes:
    """What the sizes in a network's trace are; nothing if it doesn't state its image size.

    Args:
        module: the network.
        graph: its trace.
    """
    size = _stated_size(module)
    if size is None:
        return Sizes()
    first = next((m for m in module.modules() if isinstance(m, nn.Conv2d)), None)
    channels = first.in_channels if first else 3
    runs: list[dict[str, Any]] = []
    empty = on_meta(graph)
    for count in _BATCHES:
        run = _Run(empty)
        try:
            with torch.device("meta"):
                run.run(torch.empty(count, channels, *size))
        except (RuntimeError, ValueError, TypeError, AssertionError):
            return Sizes()  # it isn't made for what it states, so nothing can be known
        runs.append(run.values)
    pairs = {name: (value, runs[1][name]) for name, value in runs[0].items()}
    numbers = {name: _number(*pair) for name, pair in pairs.items()}
    shapes = {name: _shape(*pair) for name, pair in pairs.items()}
    return Sizes(_without_none(numbers), _without_none(shapes))


def put(graph: fx.Graph, value: fx.Node, number: Any) -> Any:
    """A known size as an argument of a step in a suffix that begins with `value`."""
    if isinstance(number, list | tuple):
        return type(number)(put(graph, value, part) for part in number)
    if number != BATCH:
        return number
    shape = graph.call_function(getattr, (value, "shape"))
    return graph.call_function(operator.getitem, (shape, 0))


def of_shape(value: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """The value [B, *shape] itself.

    Raises:
        ModelError: it has another shape.
    """
    if tuple(value.shape[1:]) == tuple(shape):
        return value
    raise ModelError(
        f"This part of the network was cut for values of {tuple(shape)}, which belong to the "
        f"image size that the network is made for. Found {tuple(value.shape[1:])}: give the "
        "network images of its own size, or make it for theirs with --image-size."
    )


class _Run(fx.Interpreter):
    """Keeps what every step gives."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.values: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.values[n.name] = super().run_node(n)
        return self.values[n.name]


def _stated_size(module: nn.Module) -> tuple[int, int] | None:
    stated = (getattr(part, "img_size", None) for part in module.modules())
    size = next((found for found in stated if found), None)
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) else None


def _number(one: Any, other: Any) -> Any:
    """A size that doesn't change with the batch, or is its size; None if it's neither."""
    if isinstance(one, list | tuple) and len(one) == len(other):
        parts = [_number(*pair) for pair in zip(one, other, strict=True)]
        return None if None in parts else (parts if isinstance(one, list) else tuple(parts))
    if not isinstance(one, int):
        return None
    return BATCH if (one, other) == _BATCHES else (one if one == other else None)


def _shape(one: Any, other: Any) -> tuple[int, ...] | None:
    """Of one image's part of a tensor; None if it's no tensor with a part for each image."""
    if not torch.is_tensor(one) or (one.shape[:1], other.shape[:1]) != _ROWS:
        return None
    return tuple(one.shape[1:])


def _without_none(found: Mapping[str, T | None]) -> dict[str, T]:
    return {name: value for name, value in found.items() if value is not None}
