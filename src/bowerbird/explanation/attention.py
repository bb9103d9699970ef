"""What a transformer attends to: attention maps per head, their mean, and attention rollout.

Attention rollout: Abnar & Zuidema 2020, arXiv:2005.00928. Each layer counts half as its
attention (the mean over heads) and half as itself, for the shortcut around it; the product over
the layers says how much of a token's value comes from each place of the picture.

Decisions:
- Shown is what the class token attends to where the network reads it, else the mean over the
  picture's places. Rows add up to 1 over all tokens, so a head's map adds up to the share that
  it gives to places rather than to the class token and registers.
- Weights are taken where the network computes them: fused attention, which never forms them,
  is switched off for that pass. Of every layer only the row that is read is kept, so memory
  holds one square of tokens per image.
- Attention within windows, over channels, on a shortened row of tokens, or mixed between heads
  is left out: its weights are no shares of places of the whole picture. Rollout needs every
  layer to be of the same tokens, and is left out where some are not.

Attention says where values are taken from, not whether they speak for a class: for that
there are `attribution` and its check.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bowerbird.errors import DataError, ModelError
from bowerbird.explanation.capture import evaluating, in_float32, scores_of
from bowerbird.explanation.layout import Layout, layout_of
from bowerbird.models.networks import Network
from bowerbird.models.stages import within

__all__ = ["AttentionMaps", "attention_maps", "rolled_out"]

_BATCH = 8


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """What a layer's heads attend to in N images.

    Attributes:
        layer: path of the attention.
        heads: [N, heads, h, w] float32; over all places of a head at most 1.
        rollout: [N, h, w] up to this layer; None where the layers before don't allow it.
        reader: whose attention it is: ``"class token"`` or ``"mean of all places"``.
        paths: N names of the images, or nothing.
    """

    layer: str
    heads: NDArray[np.float32]
    rollout: NDArray[np.float32] | None
    reader: str
    paths: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.heads)

    def __repr__(self) -> str:
        n, heads, h, w = self.heads.shape
        rollout = "" if self.rollout is None else ", rollout"
        return f"AttentionMaps({n} images, {self.layer}, {heads} heads, {h} × {w}{rollout})"

    @property
    def mean(self) -> NDArray[np.float32]:
        """[N, h, w] over the heads."""
        return np.asarray(self.heads.mean(axis=1), np.float32)

    @property
    def on_places(self) -> NDArray[np.float32]:
        """[N, heads] share of a head's attention that goes to places of the picture."""
        return np.asarray(self.heads.sum(axis=(2, 3)), np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Facts for JSON."""
        return {
            "layer": self.layer,
            "heads": self.heads.shape[1],
            "places": list(self.heads.shape[2:]),
            "reader": self.reader,
            "rollout": self.rollout is not None,
            "on_places": np.round(self.on_places.astype(float), 5).tolist(),
        }


def attention_maps(
    network: Network | nn.Module,
    inputs: torch.Tensor,
    layers: Sequence[str] = (),
    *,
    paths: Sequence[str] = (),
) -> tuple[AttentionMaps, ...]:
    """Attention maps of inputs [N, C, H, W].

    Args:
        network: ours, or any torch module that gives one score per class.
        inputs: normalised as the network wants them.
        layers: paths of attentions or of blocks around one, or their numbers from 1; by default
            the last one.
        paths: names of the images.

    Raises:
        DataError: the inputs aren't [N, C, H, W].
        ModelError: the network has no attention between places of the picture, or no such
            layer.
    """
    if inputs.ndim != 4 or len(inputs) == 0:
        raise DataError(
            "Inputs must be [images, channels, height, width], at least one image. "
            f"Found: {list(inputs.shape)}."
        )
    module = in_float32(network.module if isinstance(network, Network) else network)
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    parts: list[dict[str, _Rows]] = []
    for start in range(0, len(inputs), _BATCH):
        batch = inputs[start : start + _BATCH].to(device, torch.float32)
        with evaluating(module), _watching(module, batch) as watch:
            scores_of(module, batch)
        parts.append(watch.rows)
    found = parts[0]
    if not found:
        raise ModelError(
            f"{type(module).__name__} has no attention between places of the whole picture"
            f"{_other_kinds(module)}. Where it looks: `bowerbird explain RUN`."
        )
    named = [_named(layer, tuple(found)) for layer in layers] or [list(found)[-1]]
    return tuple(_joined(layer, [part[layer] for part in parts], paths) for layer in named)


def rolled_out(attention: torch.Tensor, before: torch.Tensor | None = None) -> torch.Tensor:
    """Rollout up to a layer [B, T, T] from its attention [B, heads, T, T] and that before it.

    >>> rolled_out(torch.tensor([[[[0., 1.], [0., 1.]]]]))
    tensor([[[0.5000, 0.5000],
             [0.0000, 1.0000]]])
    """
    mean = attention.mean(1)
    mixed = (mean + torch.eye(mean.shape[-1], device=mean.device)) / 2
    mixed = mixed / mixed.sum(-1, keepdim=True)
    return mixed if before is None else mixed @ before


@dataclass
class _Rows:
    """Of one layer and batch: maps of heads and of rollout, and whose attention they are."""

    heads: torch.Tensor
    rollout: torch.Tensor | None
    reader: str


@dataclass
class _Watch:
    """What is noted in a pass."""

    module: nn.Module
    images: int
    size: tuple[int, int]
    rows: dict[str, _Rows] = field(default_factory=dict)
    rollout: torch.Tensor | None = None
    whole: bool = True
    """Whether every layer so far is between the same tokens."""
    tokens: int = 0
    """In the row of the layer that runs."""

    def note(self, path: str, weights: torch.Tensor) -> None:
        """Keep what is shown of a layer's attention [B, heads, T, T]."""
        layout = self._layout(weights)
        if layout is None:
            self.whole = False
            return
        if self.rollout is not None and self.rollout.shape[-1] != weights.shape[-1]:
            self.whole = False
        self.rollout = rolled_out(weights, self.rollout) if self.whole else None
        read_by_class = layout.prefix > 0 and _reads_class_token(self.module)
        rows = slice(0, 1) if read_by_class else slice(layout.prefix, None)

        def maps(table: torch.Tensor) -> torch.Tensor:
            row = table[..., rows, :].mean(-2)[..., layout.prefix :]
            return row.reshape(*row.shape[:-1], layout.height, layout.width).cpu()

        rollout = None if self.rollout is None else maps(self.rollout)
        reader = "class token" if read_by_class else "mean of all places"
        self.rows[path] = _Rows(maps(weights), rollout, reader)

    def _layout(self, weights: torch.Tensor) -> Layout | None:
        """How the tokens lie in the picture; None if it is no attention between them all."""
        square = weights.ndim == 4 and weights.shape[-1] == weights.shape[-2]
        if not square or len(weights) != self.images or weights.shape[-1] != self.tokens:
            return None
        if not torch.allclose(weights.sum(-1), torch.ones((), device=weights.device), atol=1e-3):
            return None
        prefix = getattr(self.module, "num_prefix_tokens", None)
        known = prefix if isinstance(prefix, int) else None
        layout = layout_of((self.images, self.tokens, 1), self.size, prefix=known)
        return layout if layout and layout.places > 1 else None


@contextlib.contextmanager
def _watching(module: nn.Module, inputs: torch.Tensor) -> Iterator[_Watch]:
    """Note every attention of a pass in this block; afterwards all is as it was."""
    watch = _Watch(module, len(inputs), (int(inputs.shape[2]), int(inputs.shape[3])))
    with contextlib.ExitStack() as stack:
        for path, part in module.named_modules():
            if isinstance(part, nn.MultiheadAttention):
                _listen_to_torch(stack, watch, path, part)
            elif _drop(part) is not None:
                _listen_to_timm(stack, watch, path, part)
        yield watch


def _listen_to_timm(stack: contextlib.ExitStack, watch: _Watch, path: str, part: Any) -> None:
    """Without fused attention the weights go through ``attn_drop``."""
    if hasattr(part, "fused_attn"):
        stack.callback(setattr, part, "fused_attn", part.fused_attn)
        part.fused_attn = False

    def begin(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        watch.tokens = _tokens(arguments[0]) if arguments else 0

    def weights(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        watch.note(path, arguments[0])

    stack.callback(part.register_forward_pre_hook(begin).remove)
    stack.callback(part.attn_drop.register_forward_pre_hook(weights).remove)


def _listen_to_torch(
    stack: contextlib.ExitStack, watch: _Watch, path: str, part: nn.MultiheadAttention
) -> None:
    """Weights are asked for, and taken out of the answer if the caller wanted none."""
    wanted: list[bool] = []

    def begin(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        query = arguments[0] if arguments else named["query"]
        watch.tokens = query.shape[1 if part.batch_first else 0]
        wanted.append(named.get("need_weights", True))
        return arguments, named | {"need_weights": True, "average_attn_weights": False}

    def end(_: nn.Module, _arguments: Any, output: Any) -> Any:
        values, weights = output
        watch.note(path, weights)
        return values, weights.mean(1) if wanted.pop() else None

    stack.callback(part.register_forward_pre_hook(begin, with_kwargs=True).remove)
    stack.callback(part.register_forward_hook(end).remove)


def _drop(part: nn.Module) -> nn.Module | None:
    return dict(part.named_children()).get("attn_drop")


def _tokens(value: Any) -> int:
    """In a row [B, T, C], or places of [B, H, W, C]."""
    if not torch.is_tensor(value) or value.ndim not in (3, 4):
        return 0
    return value.shape[1] if value.ndim == 3 else value.shape[1] * value.shape[2]


def _reads_class_token(module: nn.Module) -> bool:
    """Whether there is one, and the network's answer is made of it."""
    has = any(getattr(module, name, None) is not None for name in ("cls_token", "class_token"))
    return has and getattr(module, "global_pool", "token") not in ("avg", "avgmax", "max")


def _other_kinds(module: nn.Module) -> str:
    found = [type(part).__name__ for part in module.modules() if _drop(part) is not None]
    return f" ({found[0]} is within windows, over channels, or of its own kind)" if found else ""


def _named(layer: str, known: Sequence[str]) -> str:
    """The attention that a path, the path of a block around it, or a number means."""
    if str(layer).isdecimal():
        if 1 <= int(layer) <= len(known):
            return known[int(layer) - 1]
        raise ModelError(f"There is no attention {layer}: they go from 1 to {len(known)}.")
    inside = [path for path in known if path == layer or within(path, layer)]
    if len(inside) == 1:
        return inside[0]
    close = difflib.get_close_matches(layer, known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}?" if close else f"There are: {', '.join(known)}."
    kind = f"{len(inside)} attentions" if inside else "no attention between places of the picture"
    raise ModelError(f"The layer {layer!r} has {kind}. {hint}")


def _joined(layer: str, parts: Sequence[_Rows], paths: Sequence[str]) -> AttentionMaps:
    rollouts = [part.rollout for part in parts if part.rollout is not None]
    return AttentionMaps(
        layer,
        torch.cat([part.heads for part in parts]).numpy(),
        torch.cat(rollouts).numpy() if len(rollouts) == len(parts) else None,
        parts[0].reader,
        tuple(paths),
    )
