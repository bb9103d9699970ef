"""How many images fit into memory at once, and what to do when they don't.

The size of a batch is worked out from what a step keeps for its backward pass, counted
on a few images, so nothing has to run out of memory to find it.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from bowerbird import progress
from bowerbird.config import TrainConfig
from bowerbird.errors import RunError
from bowerbird.machine import available_memory
from bowerbird.training import processes

__all__ = ["fitting", "halved", "size"]

_MOST, _USUAL, _SHARE = 256, 32, 0.4
_SAID = ("out of memory", "can't allocate memory", "not enough memory")  # CUDA, MPS; CPU; Windows


def size(config: TrainConfig) -> int:
    """Images per batch; where ``auto`` isn't resolved, what is usual."""
    return _USUAL if config.batch_size == "auto" else config.batch_size


def fitting(part: nn.Module, activations: torch.Tensor) -> int:
    """Images per batch that a training step of `part` has memory for: a power of two.

    Args:
        part: the trained suffix, in training form.
        activations: a few images at its cut [B, *shape]; at least 2.

    Counts every tensor that the backward pass needs and the gradients of the result; keeps
    to two fifths of what is free, since the optimizer, the frozen part and others need
    some, too.
    """
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    own = {p.untyped_storage().data_ptr() for p in part.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        scores = part(activations)
        truth = torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
        functional.cross_entropy(scores, truth)
    needed = sum(count for pointer, count in kept.items() if pointer not in own)
    each = max(1.0, needed / len(activations))
    room = _SHARE * _free(activations.device) / (2 * each)
    found = 2
    while found * 2 <= min(room, _MOST):
        found *= 2
    return found


def halved(error: Exception, batch: int, asked: int) -> int:
    """Half the batch, after memory ran out; told, and done once.

    Raises:
        RunError: it was halved before.
        Exception: `error` itself, if it is about something else.
    """
    words = str(error).lower()
    ours = isinstance(error, torch.OutOfMemoryError | MemoryError)
    if not ours and not any(said in words for said in _SAID):
        raise error
    if batch < asked or batch < 4 or processes.count() > 1:  # each would have its own size
        raise RunError(
            f"Memory ran out with batches of {batch} images. Go on with a smaller "
            "--batch-size and the same product with --accumulate, a smaller --image-size, or "
            "fewer layers (--freeze-until)."
        ) from error
    progress.say(
        f"Memory ran out with batches of {batch} images: from here on {batch // 2}, twice as many "
        "per step, which comes to the same."
    )
    return batch // 2


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_memory()
