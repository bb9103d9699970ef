"""A training state on disk: all that the next step depends on, in one safetensors file.

Tensors (trained layers, optimizer) are stored as they are; the rest (phase, epoch,
step, sums, history) as JSON in the file's metadata. One atomic write, so layers,
optimizer and counters can never come from different moments.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from bowerbird import storage
from bowerbird.errors import RunError

__all__ = ["Checkpoint", "load_checkpoint", "restore", "save_checkpoint"]


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What was saved.

    Attributes:
        tensors: names start with ``model.`` or ``optimizer.``.
        facts: counters, sums, history.
    """

    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]


def save_checkpoint(
    path: Path, part: nn.Module, optimizer: torch.optim.Optimizer | None, facts: dict[str, Any]
) -> None:
    """Write the state of `part`, its optimizer and `facts` atomically."""
    tensors = {f"model.{k}": v.detach().contiguous() for k, v in part.state_dict().items()}
    if optimizer is not None:
        for index, values in optimizer.state_dict()["state"].items():
            for name, value in values.items():
                tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value).contiguous()
    storage.write_bytes(path, save(tensors, metadata={"facts": json.dumps(facts)}))


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Read a state, or None where there is none yet.

    Raises:
        RunError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            return Checkpoint({name: file.get_tensor(name) for name in file.keys()}, facts)  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise RunError(
            f"The training state {path} is damaged ({error}). Delete it to train this run again "
            "from the start; what else it holds stays."
        ) from error


def restore(
    checkpoint: Checkpoint, part: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Put a state back into the layers, and into the optimizer if given."""
    layers = {
        name.removeprefix("model."): tensor
        for name, tensor in checkpoint.tensors.items()
        if name.startswith("model.")
    }
    part.load_state_dict(layers)
    if optimizer is None:
        return
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in checkpoint.tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
