"""A layer of `torch.nn` from its text, such as ``Conv2d(_, 512, 3, padding=1)``.

``_`` stands for the size that comes in. Nothing is evaluated: the text is parsed as a syntax
tree, only `torch.nn` is looked in, and every argument must be a plain value. Containers,
losses and lazy layers are left out.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bowerbird.errors import ModelError

__all__ = ["LAYERS", "build"]

Shape = tuple[int, ...]

_CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)
LAYERS: dict[str, type[nn.Module]] = {
    name: kind
    for name, kind in vars(nn).items()
    if isinstance(kind, type)
    and issubclass(kind, nn.Module)
    and kind not in (*_CONTAINERS, nn.ParameterList, nn.ParameterDict)
    and not name.startswith("Lazy")
    and not name.endswith("Loss")
}
"""Layers that can be built, by name."""

_OF_CHANNELS = ("Conv", "BatchNorm", "SyncBatchNorm", "InstanceNorm", "GroupNorm", "PReLU")
_OF_LAST_DIMENSION = ("Linear", "LayerNorm", "RMSNorm")
_EXAMPLE = "Write for example Conv2d(_, 512, 3, padding=1) or ReLU()."


def build(text: str, incoming: Callable[[], Shape]) -> tuple[nn.Module, str]:
    """Build a layer, drawn from torch's global generator.

    Args:
        text: the constructor's call.
        incoming: gives the shape [B, ...] of what comes in; called only where ``_`` is used.

    Returns:
        The layer, and its text with a number for every ``_``.

    Raises:
        ModelError: the text is not such a call, or `torch.nn` refuses its values.

    >>> build("Linear(_, 3)", lambda: (2, 5))
    (Linear(in_features=5, out_features=3, bias=True), 'Linear(5, 3)')
    """
    call = _call(text)
    name = ast.unparse(call.func).removeprefix("torch.").removeprefix("nn.")
    if name not in LAYERS:
        lower = {known.lower(): known for known in LAYERS}
        close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)
        nearest = " or ".join(lower[match] for match in close)
        hint = f"Did you mean {nearest}?" if close else "See torch.nn's documentation."
        raise ModelError(f"torch.nn has no layer {name!r} that can be put in. {hint}")
    holes = [node for node in ast.walk(call) if isinstance(node, ast.Name) and node.id == "_"]
    if holes:
        size = _size(name, incoming())
        call = ast.fix_missing_locations(_Filled(size).visit(call))
    try:
        return _made(name, call), ast.unparse(call)
    except Exception as error:  # torch.nn's constructors raise many kinds for bad values
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"The layer {_short(text)} can't be made: {reason}.") from error


def _call(text: str) -> ast.Call:
    try:
        found = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ModelError(f"The layer {_short(text)} can't be read. {_EXAMPLE}") from error
    if not isinstance(found, ast.Call) or not isinstance(found.func, ast.Name | ast.Attribute):
        raise ModelError(f"The layer {_short(text)} is not written as a call. {_EXAMPLE}")
    return found


class _Filled(ast.NodeTransformer):
    """Puts a size in the place of ``_``."""

    def __init__(self, size: int) -> None:
        self.size = size

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(self.size) if node.id == "_" else node


def _size(name: str, shape: Shape) -> int:
    if name.startswith(_OF_CHANNELS) and len(shape) > 1:
        return shape[1]
    if name.startswith(_OF_LAST_DIMENSION) and len(shape) > 1:
        return shape[-1]
    raise ModelError(
        f"_ stands for the size that comes in, and {name} takes none of it (here "
        f"{' × '.join(map(str, shape[1:]))} come in). Write a number."
    )


def _made(name: str, call: ast.Call) -> nn.Module:
    values = [_plain(value) for value in call.args]
    named = {str(word.arg): _plain(word.value) for word in call.keywords}
    if named.keys() & {"None", "device", "dtype"}:
        raise ValueError("device, dtype and ** are not for layers here")
    layer = LAYERS[name](*values, **named)
    if any(p.numel() == 0 or p.device != torch.empty(0).device for p in layer.parameters()):
        raise ValueError("its weights would be empty, or on another device")
    return layer


def _plain(value: ast.expr) -> Any:
    try:
        return ast.literal_eval(value)
    except ValueError as error:
        raise ValueError(f"{ast.unparse(value)} is not a plain value") from error


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}…")
