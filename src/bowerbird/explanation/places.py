"""At which layer to look: found by itself, or by name.

Decisions:
- By itself: the last layer before the classifier whose value has height and width. With a
  pooled linear classifier that is where the map adds up to the score.
- In a transformer whose class token is read, nothing after the last attention depends on
  the picture's tokens: their gradient there is exactly 0. So gradients are asked for, of the
  last layer first, which costs a backward pass of the head; if it has none, of all, and the last
  normalisation or block with any is taken (``blocks.11.norm1`` in a ViT).
- What lies inside an attention (queries, keys, weights) is not looked at by itself, nor are
  layers that do nothing, and adaptive pooling.
- A layer that runs several times in a pass is looked at in its last run with height and width.

Two forward passes of two copies of one image and a backward pass of the head find it, or one
more of the whole network where the last layer isn't reached. There is no table of names.
"""

from __future__ import annotations

import dataclasses
import difflib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from bowerbird.errors import ModelError
from bowerbird.explanation.capture import (
    evaluating,
    leaf_at,
    scores_of,
    tensors_in,
    with_tensor,
)
from bowerbird.explanation.layout import Layout, layout_of
from bowerbird.models.stages import classifier_names, within

__all__ = ["Place", "find_place"]

_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class Place:
    """A layer to look at.

    Attributes:
        name: path of the module.
        layout: how its value lies in the picture.
        call: which of its runs in a pass, from 0.
        position: which tensor of its output, from 0.
    """

    name: str
    layout: Layout
    call: int = 0
    position: int = 0

    def __repr__(self) -> str:
        found = self.layout
        return f"Place({self.name}, {found.height} × {found.width} × {found.channels})"


@dataclasses.dataclass
class _Seen:
    """One run of a layer whose value has height and width."""

    place: Place
    part: nn.Module
    value: torch.Tensor


def find_place(module: nn.Module, image: torch.Tensor, layer: str | None = None) -> Place:
    """The layer of this name, or the one that is best looked at.

    Args:
        module: the network, in float32.
        image: an input [1, C, H, W].
        layer: path of a module; by default it is found.

    Raises:
        ModelError: there is no such layer, it has no height and width, or no layer has.
    """
    parts = dict(module.named_modules(remove_duplicate=False))
    if layer is not None and (layer not in parts or not layer):
        raise ModelError(_unknown(layer, parts))
    seen, _ = _seen(module, image, recorded=layer is None)
    if layer is not None:
        return _named(layer, parts[layer], seen)
    usual = _usual(module, seen)
    if not usual:
        raise ModelError(
            f"No layer of {type(module).__name__} has a height and a width for an input of "
            f"{' × '.join(map(str, image.shape[2:]))} pixels. Use a larger --image-size, or a "
            "method that needs no layer: --method rise or occlusion."
        )
    if _is_reached(module, image, usual[-1]):
        return usual[-1].place
    seen, scores = _seen(module, image, recorded=True, copied=True)
    with evaluating(module), torch.enable_grad():
        return _best(_usual(module, seen), scores).place


def _usual(module: nn.Module, seen: Sequence[_Seen]) -> list[_Seen]:
    inside = set(_inside_attention(module))
    several = [s for s in seen if s.place.layout.places > 1 and s.place.name not in inside]
    return [s for s in several if not _passes_on(s.part)]


def _is_reached(module: nn.Module, image: torch.Tensor, seen: _Seen) -> bool:
    """Whether a gradient reaches a layer, at the price of what follows it alone."""
    place = seen.place
    if not seen.value.requires_grad:  # a constant, or computed where nothing is recorded
        return False
    try:
        with evaluating(module), leaf_at(seen.part, place.call, place.position) as leaf:
            scores = scores_of(module, torch.cat([image, image]).detach())
            if leaf.value is None:
                return False
            with torch.enable_grad():
                return bool(_reached([dataclasses.replace(seen, value=leaf.value)], scores))
    except RuntimeError:  # what follows writes into what came before the layer
        return False


def _best(seen: Sequence[_Seen], scores: torch.Tensor) -> _Seen:
    """The last normalisation or block with any gradient; if none has, the last one."""
    reached = _reached(seen, scores)
    rows = [s for s in reached if s.place.layout.kind == "tokens" and _norm_or_block(s.part)]
    return (rows or reached or seen)[-1]


def _reached(seen: Sequence[_Seen], scores: torch.Tensor) -> list[_Seen]:
    """Those whose places in the picture a gradient of the scores reaches."""
    asked = [s for s in seen if s.value.requires_grad]
    if not asked or not scores.requires_grad:
        return []
    mixed = (scores * torch.linspace(1, 2, scores.shape[1], device=scores.device)).sum()
    values = list({id(s.value): s.value for s in asked}.values())
    found = torch.autograd.grad(mixed, values, allow_unused=True, retain_graph=True)
    gradients = dict(zip(map(id, values), found, strict=True))
    pairs = [(s, gradients[id(s.value)]) for s in asked]
    return [s for s, g in pairs if g is not None and bool(s.place.layout.images(g).any())]


def _seen(
    module: nn.Module, image: torch.Tensor, *, recorded: bool, copied: bool = False
) -> tuple[list[_Seen], torch.Tensor]:
    """Layers with height and width that run before the classifier, by their ends; the scores.

    Gradients can only be asked for where values are copied, too: what follows may write into
    its input.
    """
    watch = _Watch(module, (int(image.shape[2]), int(image.shape[3])), copied)
    with evaluating(module), watch, torch.set_grad_enabled(recorded):
        pair = torch.cat([image, image]).detach().requires_grad_(recorded)
        scores = scores_of(module, pair)
    return watch.seen, scores


class _Watch:
    """Hooks on every layer that note values with height and width; removed at the end."""

    def __init__(self, module: nn.Module, size: tuple[int, int], copied: bool) -> None:
        self.module, self.size, self.copied = module, size, copied
        self.seen: list[_Seen] = []
        prefix = getattr(module, "num_prefix_tokens", None)
        self._prefix = prefix if isinstance(prefix, int) else None
        self._channels_last = getattr(module, "output_fmt", None) == "NHWC"
        self._runs: Counter[str] = Counter()
        self._over, self._thread = False, threading.get_ident()
        self._handles: list[Any] = []

    def __enter__(self) -> _Watch:
        classifiers = _classifiers(self.module)
        for path, part in self.module.named_modules():
            if path in classifiers:
                self._handles.append(part.register_forward_pre_hook(self._stop))
            elif path:
                self._handles.append(part.register_forward_hook(self._noting(path)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _stop(self, *_: object) -> None:
        if threading.get_ident() == self._thread:
            self._over = True

    def _noting(self, path: str) -> Any:
        def hook(part: nn.Module, _args: Any, output: Any) -> Any:
            if threading.get_ident() != self._thread:
                return None
            call = self._runs[path]
            self._runs[path] += 1
            found = None if self._over else self._spatial(output)
            if found is None:
                return None
            position, layout = found
            value = tensors_in(output)[position]
            self.seen.append(_Seen(Place(path, layout, call, position), part, value))
            return with_tensor(output, position, torch.clone) if self.copied else None

        return hook

    def _spatial(self, output: Any) -> tuple[int, Layout] | None:
        for position, value in enumerate(tensors_in(output)):
            if not torch.is_tensor(value) or not value.is_floating_point() or value.ndim < 3:
                continue
            layout = layout_of(
                value.shape, self.size, prefix=self._prefix, channels_last=self._channels_last
            )
            if layout is not None and len(value) == 2:
                return position, layout
        return None


def _classifiers(module: nn.Module) -> tuple[str, ...]:
    try:
        return classifier_names(module)
    except ModelError:  # a network may end without one
        return ()


def _inside_attention(module: nn.Module) -> Iterator[str]:
    """Paths of parts of an attention; a block around one is none."""
    named = [path for path, part in module.named_modules() if _is_attention(part)]
    innermost = [p for p in named if not any(o != p and within(o, p) for o in named)]
    for path, _ in module.named_modules():
        if any(path != outer and within(path, outer) for outer in innermost):
            yield path


def _is_attention(part: nn.Module) -> bool:
    return "att" in type(part).__name__.lower()


def _passes_on(part: nn.Module) -> bool:
    """Whether a layer computes nothing of its own, or only makes its input smaller."""
    return isinstance(part, (nn.Identity, nn.Dropout, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d))


def _norm_or_block(part: nn.Module) -> bool:
    return "norm" in type(part).__name__.lower() or any(True for _ in part.children())


def _named(layer: str, part: nn.Module, seen: Sequence[_Seen]) -> Place:
    runs = [s for s in seen if s.part is part and s.place.layout.places > 1]
    if runs:
        return dataclasses.replace(runs[-1].place, name=layer)
    spatial = list(dict.fromkeys(s.place.name for s in seen if s.place.layout.places > 1))
    outer = [name for name in spatial if not any(within(name, o) for o in spatial if o != name)]
    shown = ", ".join(outer[-_SHOWN:]) or "none"
    before = "… " if len(outer) > _SHOWN else ""
    raise ModelError(
        f"The layer {layer!r} has no height and width to draw a map on. Layers that have: "
        f"{before}{shown}, and the parts of these."
    )


def _unknown(layer: str, parts: dict[str, nn.Module]) -> str:
    names = [name for name in parts if name]
    close = difflib.get_close_matches(layer, names, n=3, cutoff=0.5)
    top = [name for name in names if "." not in name]
    hint = f"Did you mean {' or '.join(close)}?" if close else f"There are: {', '.join(top)}."
    return f"The network has no layer {layer!r}. {hint} `bowerbird summary` lists all."
