"""Whether a network ends in a softmax or a sigmoid, found by what comes out of it.

Cross-entropy applies the softmax itself. A network that ends in one already gives it
numbers between 0 and 1, whose softmax is nearly even: gradients are tiny, and the loss
stays near the logarithm of the number of classes.

How it is found: three random images are run, and the scores that leave the classifier are
replaced on the way by large ones of both signs. So what is seen at the end is what stands behind
the classifier, whatever the weights are, and an ordinary network, which gives the large
scores back, can't be mistaken. Where the classifier can't be found, the network is seen as
it is, and only a softmax is looked for.

A log-softmax is harmless (the softmax after it changes nothing) and counts as none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bowerbird.errors import ModelError
from bowerbird.models.cuts import classifier_names
from bowerbird.models.networks import Network

__all__ = ["ends_in", "refusal"]

_IMAGES = 3
_LEAST = 8.0  # size of the scores put in: a sigmoid or a softmax is near 0 and 1 there
_TOLERANCE = 1e-3


def ends_in(network: Network) -> str | None:
    """What stands behind the scores of a network, if cross-entropy can't bear it.

    Args:
        network: left as it was.

    Returns:
        ``"softmax"`` (rows sum to 1), ``"softmax over the batch"`` (columns sum to 1, as with
        ``Softmax(dim=0)``), ``"sigmoid"`` (all within 0 to 1), or None.

    Raises:
        ModelError: the network can't run on its own input size.
    """
    found, replaced = _probed(network)
    if found.ndim != 2 or not torch.isfinite(found).all() or (found < 0).any():
        return None
    if _sums_to_one(found, dim=1):
        return "softmax"
    if _sums_to_one(found, dim=0):
        return "softmax over the batch"
    return "sigmoid" if replaced and (found <= 1).all() else None


def refusal(kind: str) -> str:
    """The sentence for a network that ends in `kind`, one of those that `ends_in` returns."""
    reason = {
        "softmax": "Cross-entropy applies a softmax itself, and the softmax of a softmax is nearly "
        "even: the network would hardly learn.",
        "softmax over the batch": "It shares 1 out among the images of a batch instead of among "
        "the classes, and cross-entropy applies a softmax itself: the network would hardly learn.",
        "sigmoid": "Cross-entropy applies a softmax itself, and scores between 0 and 1 are nearly "
        "even after it: the network would hardly learn.",
    }[kind]
    return (
        f"The network ends in a {kind}. {reason} Take it away (surgery: cut its place, or replace "
        "it by Identity()), or set allow_double_softmax to see it fail."
    )


def _probed(network: Network) -> tuple[torch.Tensor, bool]:
    """What the network gives for random images, and whether its scores were replaced."""
    module = network.module
    generator = torch.Generator().manual_seed(0)
    first = next(module.parameters(), torch.empty(0))
    shape = (_IMAGES, network.channels, *network.preprocess.input_size)
    images = torch.randn(shape, generator=generator).to(first.device, first.dtype)
    modes = [(part, part.training) for part in module.modules()]
    replaced: list[bool] = []
    hooks = [part.register_forward_hook(_replacing(generator, replaced)) for part in _last(module)]
    try:
        with torch.no_grad():
            found: torch.Tensor = module.eval()(images)
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{network.name} can't run on {shape[1]} × {shape[2]} × {shape[3]} values: {reason}."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
        for part, training in modes:
            part.training = training
    return found.float().cpu(), bool(replaced)


def _last(module: nn.Module) -> list[nn.Module]:
    try:
        return [module.get_submodule(name) for name in classifier_names(module)]
    except ModelError:  # no linear layer: its scores are seen as they are
        return []


def _replacing(generator: torch.Generator, replaced: list[bool]) -> Callable[..., torch.Tensor]:
    def hook(part: nn.Module, args: Any, scores: torch.Tensor) -> torch.Tensor:
        replaced.append(True)
        sizes = _LEAST + _LEAST * torch.rand(scores.shape, generator=generator)
        return (sizes * _signs(scores)).to(scores)

    return hook


def _signs(scores: torch.Tensor) -> torch.Tensor:
    """All scores positive for the first image, negative for the second, then by turns."""
    classes = 1 if scores.ndim == 4 else scores.ndim - 1
    shape = [1] * scores.ndim
    shape[classes] = -1
    turns = 1 - 2 * (torch.arange(scores.shape[classes]) % 2)
    signs = turns.view(shape).expand(scores.shape).clone()
    signs[0], signs[1] = 1, -1
    return signs


def _sums_to_one(found: torch.Tensor, dim: int) -> bool:
    sums = found.sum(dim)
    return bool(torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=_TOLERANCE))
