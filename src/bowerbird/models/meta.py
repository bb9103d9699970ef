"""Copies of networks on PyTorch's meta device: shapes without values, at no cost."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import nn

__all__ = ["on_meta"]

M = TypeVar("M", bound=nn.Module)


def on_meta(module: M) -> M:
    """A copy whose parameters and buffers have shapes only; the network stays as it was.

    >>> copied = on_meta(nn.Linear(2, 3))
    >>> copied.weight.shape, copied.weight.device.type
    (torch.Size([3, 2]), 'meta')
    """
    known: dict[int, Any] = {}
    for parameter in module.parameters():
        empty = torch.empty_like(parameter, device="meta")
        known[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
    for buffer in module.buffers():
        known[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(module, known)
