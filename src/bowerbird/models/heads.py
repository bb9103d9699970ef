"""Classifiers to put in the place of a network's own last layer.

``linear`` is one linear layer. Widths such as ``1024,256`` put hidden layers before it,
each linear, ReLU and dropout. ``cosine`` scores by the angle alone: scale times the
cosine of feature and class vector, with a learnt scale (Gidaris & Komodakis 2018,
arXiv:1804.09728; differs from the paper: an activation at the features' end stays).

Decisions:
- A plain linear head is an ordinary `torch.nn` layer, so plain timm loads the result.
  Anything else is one `Head`, which `cuts.classifier_name` knows by its type; such
  networks load through Bowerbird only.
- Where the network's own last layer is a 1 × 1 convolution (torchvision's SqueezeNet pools
  after it), the same head is laid over every position.
- Dropout stands before the last layer, and after each hidden one.
"""

from __future__ import annotations

import re
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from bowerbird.errors import ModelError

__all__ = ["Cosine", "Head", "is_linear", "make_head", "refuse_unknown"]

_FIRST_SCALE = 10.0  # as in the paper


class Cosine(nn.Module):
    """Scale times the cosine of a feature and each class's vector.

    Args:
        in_features: D, length of a feature.
        num_classes: K.
        positions: take [B, D, H, W] and score every position, instead of [B, D].
    """

    def __init__(self, in_features: int, num_classes: int, *, positions: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features, self.positions = in_features, num_classes, positions
        self.weight = nn.Parameter(torch.randn(num_classes, in_features) / in_features**0.5)
        self.scale = nn.Parameter(torch.tensor(_FIRST_SCALE))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores [B, K], or [B, K, H, W]."""
        x = x.movedim(1, -1) if self.positions else x
        cosines = F.linear(F.normalize(x, dim=-1), F.normalize(self.weight, dim=-1))
        scores = self.scale * cosines
        return scores.movedim(-1, 1) if self.positions else scores

    def extra_repr(self) -> str:
        """For ``repr``."""
        return f"{self.in_features}, {self.out_features}"


class Head(nn.Sequential):
    """A classifier of more than one plain layer; ``scores`` is its last one."""

    @property
    def in_features(self) -> int:
        """Length of the feature that comes in."""
        return next(int(p.shape[1]) for p in self.parameters() if p.ndim > 1)

    @property
    def linear(self) -> bool:
        """Whether the scores are a linear function of the features, dropout aside."""
        parts = [part for part in self if not isinstance(part, nn.Dropout)]
        return len(parts) == 1 and not isinstance(parts[0], Cosine)

    @property
    def weight(self) -> torch.Tensor:
        """Of the last layer, as if the head were that layer."""
        return self.get_parameter("scores.weight")

    @property
    def bias(self) -> torch.Tensor | None:
        """Of the last layer."""
        found: torch.Tensor | None = getattr(self.get_submodule("scores"), "bias", None)
        return found


def refuse_unknown(head: str, dropout: float) -> None:
    """Refuse a kind of head that doesn't exist.

    Raises:
        ModelError: `head` is none of them, or `dropout` is not from 0 to below 1.
    """
    _widths(head)
    if not 0 <= dropout < 1:
        raise ModelError(f"A head's dropout must be from 0 to below 1. Found: {dropout!r}.")


def make_head(
    head: str, in_features: int, num_classes: int, dropout: float = 0.0, *, positions: bool = False
) -> nn.Module:
    """A new classifier, drawn from torch's global generator.

    Args:
        head: ``"linear"``, ``"cosine"``, or widths of hidden layers (``"1024,256"``).
        in_features: D, length of a feature.
        num_classes: K, scores per image.
        dropout: share of the values that is dropped in training.
        positions: take [B, D, H, W] and give [B, K, H, W].

    Raises:
        ModelError: see `refuse_unknown`.

    >>> [name for name, _ in make_head("8", 4, 2, 0.5).named_children()]
    ['hidden1', 'act1', 'drop1', 'scores']
    """
    refuse_unknown(head, dropout)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for number, width in enumerate(_widths(head), 1):
        parts[f"hidden{number}"] = _linear(in_features, width, positions)
        parts[f"act{number}"] = nn.ReLU()
        if dropout:
            parts[f"drop{number}"] = nn.Dropout(dropout)
        in_features = width
    if dropout and not parts:
        parts["drop"] = nn.Dropout(dropout)
    if head == "cosine":
        parts["scores"] = Cosine(in_features, num_classes, positions=positions)
    else:
        parts["scores"] = _linear(in_features, num_classes, positions)
    plain = len(parts) == 1 and head != "cosine"
    return parts["scores"] if plain else Head(parts)


def is_linear(module: nn.Module) -> bool:
    """Whether a network's scores are a linear function of its features, dropout aside.

    Then a linear probe's solution can be put into it (``weight`` and ``bias`` of its
    classifier, also where that is a `Head` with dropout).
    """
    return all(part.linear for part in module.modules() if isinstance(part, Head))


def _widths(head: str) -> tuple[int, ...]:
    if head in ("linear", "cosine"):
        return ()
    if not re.fullmatch(r"[1-9][0-9]*(,[1-9][0-9]*)*", head):
        raise ModelError(
            f"There is no head {head!r}. Write linear, cosine, or the widths of hidden layers, "
            "such as 512 or 1024,256."
        )
    return tuple(int(width) for width in head.split(","))


def _linear(in_features: int, out_features: int, positions: bool) -> nn.Module:
    if positions:
        return nn.Conv2d(in_features, out_features, kernel_size=1)
    return nn.Linear(in_features, out_features)
