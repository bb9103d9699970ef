"""Convolutions of a frozen part that apply their activation, and pad, while they write.

On a CPU a convolution, its activation and the uneven padding of TensorFlow's networks are
three passes over memory. oneDNN does all in one, through the operator that torch's compiler
uses; it needs no compiling: ``tf_efficientnet_lite0`` runs 1.2 to 1.3 times as fast
(`LOG.md`), with the same bits for ReLU and ReLU6.

Decisions:
- Weights are brought into oneDNN's order once, when the size of the input is first seen.
- Uneven padding (one more at the end) is even padding under a kernel with a row and a column
  of zeros before it.
- Only what a convolution replaces is taken out; all else stays, used or not: it may change
  a value in place.
- The answer to an example is compared with that of the part as it was. Where it differs, or
  isn't a number, or the operator is missing or refuses, the part stays as it is. A number
  that overflows for some other input only is not noticed: a fused ReLU makes NaN 0.

What is fused can only be run: its weights are copies.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from bowerbird.models.folding import is_hooked, is_plain

__all__ = ["fuse"]

_ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.SiLU: ("swish", []),
    nn.Hardswish: ("hardswish", []),
}


_CLOSE = 0.05


def fuse(part: nn.Module, example: torch.Tensor) -> nn.Module:
    """The part with fused convolutions, or as it was where that can't be done.

    Args:
        part: in evaluation mode, on the CPU, in the precision it will run in; its batch-norms
            folded (`folding.fold_batch_norm`).
        example: an input [B, C, H, W] of the kind to come.
    """
    if not isinstance(part, fx.GraphModule) or not _there():
        return part
    fused, some = _rewritten(part), example[:2]
    try:
        with torch.inference_mode():
            alike = _alike(fused(some.clone()), part(some.clone()))
    except (RuntimeError, TypeError, IndexError):  # no such kernel, or another operator
        return part
    return fused if alike else part


class FusedConv(nn.Module):
    """A convolution [B, C, H, W] → [B, K, H', W'] with its activation.

    Args:
        conv: plain, with padding given in numbers, or as TensorFlow's "SAME".
        activation: None, or one of a kind that is known here.
    """

    def __init__(self, conv: nn.Conv2d, activation: nn.Module | None) -> None:
        super().__init__()
        self._conv = conv
        known = ("none", []) if activation is None else _ACTIVATIONS[type(activation)]
        self._attribute, self._scalars = known
        self._ready: tuple[torch.Size, torch.Tensor, list[int]] | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve, add the bias, apply the activation."""
        ready = self._ready
        if ready is None or ready[0] != x.shape:
            self._ready = ready = self._prepared(x.shape)
        _, weight, padding = ready
        conv = self._conv
        result: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, weight, conv.bias, padding, conv.stride, conv.dilation, conv.groups,
            self._attribute, self._scalars, "",
        )  # fmt: skip
        return result

    def _prepared(self, size: torch.Size) -> tuple[torch.Size, torch.Tensor, list[int]]:
        conv, weight = self._conv, self._conv.weight.detach()
        padding = [int(p) for p in conv.padding]
        if _pads_like_tensorflow(conv):
            totals = [_total_padding(conv, axis, size[2 + axis]) for axis in (0, 1)]
            top, left = (total % 2 for total in totals)
            weight = F.pad(weight, (left, 0, top, 0))
            weight = weight.contiguous(memory_format=torch.channels_last)
            padding = [-(-total // 2) for total in totals]
        weight = torch.ops.mkldnn._reorder_convolution_weight(
            weight, padding, conv.stride, conv.dilation, conv.groups, list(size)
        )
        return size, weight, padding


def _there() -> bool:
    names = ("_convolution_pointwise", "_reorder_convolution_weight")
    return torch._C._has_mkldnn and all(hasattr(torch.ops.mkldnn, name) for name in names)


def _rewritten(part: fx.GraphModule) -> fx.GraphModule:
    """A copy in which each convolution that can be is fused with what follows it."""
    fused = fx.GraphModule(part, copy.deepcopy(part.graph))
    for number, node in enumerate(list(fused.graph.nodes)):
        conv = _module(fused, node)
        if not _fusable(conv):
            continue
        replaced, activation = _followed_by(fused, node)
        last = replaced[-1]
        fused.add_submodule(f"fused_{number}", FusedConv(conv, activation))
        with fused.graph.inserting_after(last):
            new = fused.graph.call_module(f"fused_{number}", node.args, node.kwargs)
        last.replace_all_uses_with(new)
        for old in reversed(replaced):
            fused.graph.erase_node(old)
    fused.recompile()
    return fused


def _fusable(conv: Any) -> bool:
    if not isinstance(conv, nn.Conv2d) or not is_plain(conv):
        return False
    uneven = _pads_like_tensorflow(conv) and conv.dilation != (1, 1)
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str) and not uneven


def _followed_by(part: fx.GraphModule, node: fx.Node) -> tuple[list[fx.Node], nn.Module | None]:
    """The nodes to be replaced, and their activation; layers that do nothing are passed."""
    replaced = [node]
    while len(replaced[-1].users) == 1:
        after = next(iter(replaced[-1].users))
        module = _module(part, after)
        if not isinstance(module, nn.Module) or is_hooked(module):
            break
        if type(module) in _ACTIVATIONS:
            return [*replaced, after], module
        if type(module) is not nn.Identity:
            break
        replaced.append(after)
    return replaced, None


def _module(part: fx.GraphModule, node: fx.Node) -> Any:
    return part.get_submodule(str(node.target)) if node.op == "call_module" else None


def _alike(found: Any, expected: Any) -> bool:
    """Equal up to the rounding of bfloat16, and numbers."""
    if not torch.is_tensor(found) or not torch.is_tensor(expected):
        return False
    most = float(expected.abs().max()) if expected.numel() else 0.0
    return torch.allclose(found.float(), expected.float(), rtol=_CLOSE, atol=_CLOSE * most)


def _pads_like_tensorflow(conv: nn.Conv2d) -> bool:
    from timm.layers.conv2d_same import Conv2dSame

    return type(conv) is Conv2dSame


def _total_padding(conv: nn.Conv2d, axis: int, size: int) -> int:
    """Rows or columns of zeros around an input of this size: "SAME", for a dilation of one."""
    stride, kernel = conv.stride[axis], conv.kernel_size[axis]
    return max((-(-size // stride) - 1) * stride + kernel - size, 0)
