"""Networks run with an eye on one layer, and left exactly as they were.

The trunk runs without a graph. At the chosen layer a hook puts a leaf in the place of the
output; only what follows, the head, is recorded. So a gradient with respect to a late layer
costs hardly more than the forward pass.

Decisions:
- Parameters keep their ``requires_grad``: recording is switched on by the hook, in its own
  thread. Only gradients with respect to the leaf are asked for, so none is added to any
  parameter's ``grad``.
- The network goes on with a copy of the leaf: layers that write into their input (in-place
  ReLU) don't change what was kept.
- Everything runs in float32 and in evaluation mode. A network in another precision is
  copied; mode and hooks are restored, also after an exception.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from bowerbird.errors import ModelError

__all__ = ["Leaf", "evaluating", "in_float32", "leaf_at", "scores_of", "tensors_in", "with_tensor"]


class Leaf:
    """The value of a layer, from which the rest of the network was recorded."""

    def __init__(self) -> None:
        self.value: torch.Tensor | None = None

    def gradient(self, score: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The value, and the gradient of `score` with respect to it; zeros if there is none."""
        if self.value is None:
            raise ModelError("The layer didn't run, so nothing can be seen there. Choose another.")
        found: torch.Tensor | None = None
        if score.requires_grad:
            (found,) = torch.autograd.grad(score, self.value, allow_unused=True)
        value = self.value.detach()
        return value, torch.zeros_like(value) if found is None else found


def in_float32(module: nn.Module) -> nn.Module:
    """The network, or a copy of it in float32 where it is in another precision.

    A compiled network is looked into as what it was compiled from.

    Raises:
        ModelError: it is TorchScript, which can't be looked into.
    """
    module = getattr(module, "_orig_mod", module)
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelError(
            "A TorchScript module can't be looked into. Give the network that it was made from."
        )
    tensors = (*module.parameters(), *module.buffers())
    plain = all(t.dtype == torch.float32 for t in tensors if t.is_floating_point())
    if plain and not any(t.is_inference() for t in tensors):
        return module
    with torch.inference_mode(False):
        return copy.deepcopy(module).float()


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, no autocast, no graph in this block; afterwards the mode as before.

    Inference mode, in which there are no gradients, is left for the length of the block.
    """
    modes = {part: part.training for part in module.modules()}
    kinds = {tensor.device.type for tensor in module.parameters()} | {"cpu"}
    with contextlib.ExitStack() as stack:
        for kind in kinds:
            stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        try:
            module.eval()
            yield
        finally:
            for part, mode in modes.items():
                part.training = mode


@contextlib.contextmanager
def leaf_at(part: nn.Module, call: int, position: int) -> Iterator[Leaf]:
    """Record what follows a layer for the length of the block.

    Args:
        part: the layer.
        call: which of its runs in a pass, from 0.
        position: which tensor of its output, from 0.
    """
    leaf, thread, runs = Leaf(), threading.get_ident(), 0

    def hook(_part: nn.Module, _args: Any, output: Any) -> Any:
        nonlocal runs
        if threading.get_ident() != thread:
            return None
        runs += 1
        if runs - 1 != call:
            return None
        leaf.value = tensors_in(output)[position].detach().clone().requires_grad_(True)
        torch.set_grad_enabled(True)
        return with_tensor(output, position, lambda _: _copied(leaf.value))

    handle = part.register_forward_hook(hook)
    recording = torch.is_grad_enabled()
    try:
        yield leaf
    finally:
        torch.set_grad_enabled(recording)
        handle.remove()


def scores_of(module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Scores [B, K] of inputs [B, C, H, W], which stay as they are.

    Raises:
        ModelError: the network gives something else.
    """
    scores = module(inputs.clone())
    if torch.is_tensor(scores) and scores.ndim == 2 and len(scores) == len(inputs):
        return scores
    found = tuple(scores.shape) if torch.is_tensor(scores) else type(scores).__name__
    raise ModelError(
        f"Explaining needs a network that gives one score per class: [{len(inputs)}, classes]. "
        f"{type(module).__name__} gave {found}."
    )


def tensors_in(output: Any) -> Sequence[Any]:
    """What a layer gave, as a list; anything but tensors stays in its place."""
    return output if isinstance(output, list | tuple) else [output]


def with_tensor(output: Any, position: int, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """What a layer gave, with one of its tensors changed."""
    if not isinstance(output, list | tuple):
        return change(output)
    changed = [change(v) if i == position else v for i, v in enumerate(output)]
    return type(output)(*changed) if hasattr(output, "_fields") else type(output)(changed)


def _copied(value: torch.Tensor | None) -> torch.Tensor:
    """A copy within the graph: what follows may write into it."""
    if value is None:
        raise ModelError("The layer's value is gone.")
    with torch.enable_grad():
        return value.clone()
