"""A network's layers as one number per channel: averaged over the picture, many in one pass.

The value at a cut is averaged over height and width, or over its tokens; several cuts are put
side by side. The averaging is part of the graph, so what the cache keeps is a row per image,
not the activations of every place.

Decisions:
- Which axis holds the channels follows from the shape: height and width have the input's
  ratio. Where two readings fit, channels come first.
- A row of tokens is averaged whole, class token included.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from bowerbird.errors import DataError, ModelError
from bowerbird.features.extraction import Extractor
from bowerbird.models.cuts import Traced
from bowerbird.models.networks import Network
from bowerbird.models.stages import within

__all__ = [
    "averaged",
    "averaging",
    "cut_at",
    "extractor_at",
    "is_spatial",
    "shapes_at",
    "shapes_until",
]

Size = tuple[int, int]


def cut_at(traced: Traced, layer: str | None) -> str:
    """The cut of a layer named by cut, stage or module path; by default before the classifier.

    Raises:
        ModelError: the network can't be cut there; the message names the nearest places.
    """
    if layer is None:
        return traced.before_classifier()
    if layer in traced.cuts:
        return layer
    stages = {stage.name: stage.cut for stage in traced.stages[:-1]}
    if layer in stages:
        return stages[layer]
    inside = [cut for cut in traced.cuts if within(traced.paths.get(cut, ""), layer)]
    if layer and inside:
        return inside[-1]
    known = {*traced.cuts, *stages, *(traced.paths.get(cut, cut) for cut in traced.cuts)}
    near = difflib.get_close_matches(layer, sorted(known), n=3, cutoff=0.5)
    words = f"Nearest: {', '.join(near)}. " if near else ""
    raise ModelError(
        f"The network has no layer {layer!r} to take features from. {words}Its stages are "
        f"{', '.join(stages)}."
    )


def extractor_at(
    network: Network, traced: Traced, cut: str, *, precision: str = "auto", device: str = "cpu"
) -> Extractor:
    """Gives one row per image at a cut: the value there, averaged over the picture if need be.

    Args:
        network: in evaluation mode.
        traced: its trace.
        cut: a place.
        precision: of the forward passes.
        device: ``"cpu"`` or a torch device.

    Raises:
        DataError: what the network holds there is not per image.
    """
    name = cut
    if len(shapes_until(network, traced, cut)[cut]) != 2:
        name, traced = f"mean of {cut}", averaging(traced, [cut], network.preprocess.input_size)
    return Extractor(network, name, precision=precision, device=device, traced=traced)


def averaging(traced: Traced, cuts: Sequence[str], size: Size) -> Traced:
    """A trace whose prefix, to any cut, gives the means at `cuts` side by side: [B, sum of C].

    Args:
        traced: the network's trace.
        cuts: places, in the network's order.
        size: height and width of the input.
    """
    facts = {f.name: getattr(traced, f.name) for f in dataclasses.fields(traced)}
    return _Averaging(**facts, wanted=tuple(cuts), size=size)


def averaged(value: torch.Tensor, size: Size) -> torch.Tensor:
    """A value [B, …] as one number per channel [B, C].

    >>> averaged(torch.ones(2, 5, 7, 7), (224, 224)).shape
    torch.Size([2, 5])
    """
    axis = _channel_axis(tuple(value.shape), size)
    others = [a for a in range(1, value.ndim) if a != axis]
    return value.mean(dim=others) if others else value


def is_spatial(shape: Sequence[int], size: Size) -> bool:
    """Whether a value [B, C, H, W] has places in the picture, channels first."""
    return len(shape) == 4 and _channel_axis(shape, size) == 1 and min(shape[2:]) > 1


def shapes_at(traced: Traced, until: str, example: torch.Tensor) -> dict[str, tuple[int, ...]]:
    """Shapes of the values at the cuts up to `until`, for one input batch."""
    part = traced.prefix(until)
    found: dict[str, tuple[int, ...]] = {}
    if isinstance(part, fx.GraphModule):
        with torch.inference_mode():
            _Shapes(part, found, set(traced.cuts)).run(example)
    return found


def shapes_until(network: Network, traced: Traced, until: str) -> dict[str, tuple[int, ...]]:
    """The same for two images of the network's input size.

    Raises:
        DataError: what the network holds on its way there is not per image.
    """
    known = network.preprocess
    example = torch.zeros(2, len(known.mean), *known.input_size)
    found = shapes_at(traced, until, example)
    if any(shape[:1] != (2,) for shape in found.values()):
        raise DataError(f"What {network.name} holds on its way to {until} is not per image.")
    return found


@dataclasses.dataclass(frozen=True)
class _Averaging(Traced):
    wanted: tuple[str, ...] = ()
    size: Size = (0, 0)

    def prefix(self, cut: str) -> fx.GraphModule:
        """The part up to the last of the cuts, giving all their means; `cut` only names it."""
        part = super().prefix(self.wanted[-1])
        if not isinstance(part, fx.GraphModule):
            raise ModelError(f"The network can't be cut at {self.wanted[-1]!r}.")
        graph = part.graph
        nodes = {node.name: node for node in graph.nodes}
        end = next(node for node in graph.nodes if node.op == "output")
        with graph.inserting_before(end):
            rows = [graph.call_function(averaged, (nodes[c], self.size)) for c in self.wanted]
            end.args = (graph.call_function(torch.cat, (rows, 1)),)
        graph.lint()
        part.recompile()
        return part


class _Shapes(fx.Interpreter):
    def __init__(
        self, part: fx.GraphModule, found: dict[str, tuple[int, ...]], cuts: set[str]
    ) -> None:
        super().__init__(part)
        self._found, self._cuts = found, cuts

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self._cuts and torch.is_tensor(value):
            self._found[n.name] = tuple(value.shape)
        return value


def _channel_axis(shape: Sequence[int], size: Size) -> int:
    if len(shape) == 3:  # tokens
        return 2
    if len(shape) != 4:
        return 1
    _, a, b, c = shape
    first, last = _fits(b, c, size), _fits(a, b, size)
    return 3 if last and not first else 1


def _fits(height: int, width: int, size: Size) -> bool:
    within_input = height <= size[0] and width <= size[1]
    return within_input and abs(height * size[1] - width * size[0]) < max(size)
