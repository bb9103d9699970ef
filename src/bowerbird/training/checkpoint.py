"""A training state on disk: all that the next step depends on, in one safetensors file.

Tensors (layers, optimizer, moving average) are stored as they are; the rest (phase, epoch,
step, sums, history, what else the optimizer keeps) as JSON in the file's metadata. One
atomic write, so layers, optimizer and counters can never come from different moments.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from bowerbird import storage
from bowerbird.errors import RunError
from bowerbird.models.loading import apart

__all__ = ["Checkpoint", "load_checkpoint", "restore", "save_checkpoint", "unsaved"]


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What was saved.

    Attributes:
        tensors: names start with ``model.``, ``optimizer.``, ``group.`` or ``average.``.
        facts: counters, sums, history.
        plain: what the optimizer keeps besides tensors: ``state`` and ``groups``.
    """

    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]
    plain: dict[str, Any] = dataclasses.field(default_factory=dict)

    def named(self, kind: str) -> dict[str, torch.Tensor]:
        """The tensors of a kind (``"model"``, ``"average"``), by their names there."""
        start = kind + "."
        return {k.removeprefix(start): v for k, v in self.tensors.items() if k.startswith(start)}


def save_checkpoint(
    path: Path,
    part: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    facts: dict[str, Any],
    average: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write the state of `part`, its optimizer, its moving average and `facts` atomically."""
    tensors = {f"model.{name}": value for name, value in part.state_dict().items()}
    plain: dict[str, Any] = {}
    if optimizer is not None:
        plain = _optimizer_state(optimizer, tensors)
    for name, value in (average or {}).items():
        tensors[f"average.{name}"] = value.contiguous()
    metadata = {"facts": json.dumps(facts), "optimizer": json.dumps(plain)}
    storage.write_bytes(path, save(apart(tensors), metadata=metadata))


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Read a state, or None where there is none yet.

    Raises:
        RunError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            facts, plain = json.loads(metadata["facts"]), json.loads(metadata["optimizer"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Checkpoint(tensors, facts, plain)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise RunError(
            f"The training state {path} is damaged ({error}). Delete it to train this run again "
            "from the start; what else it holds stays."
        ) from error


def restore(
    checkpoint: Checkpoint, part: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Put a state back into the layers, and into the optimizer if given."""
    part.load_state_dict(checkpoint.named("model"))
    if optimizer is None:
        return
    state = _joined(checkpoint.named("optimizer"), checkpoint.plain.get("state", {}))
    groups = _joined(checkpoint.named("group"), checkpoint.plain.get("groups", {}))
    present = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict(
        {
            "state": {index: _laid_out(optimizer, index, kept) for index, kept in state.items()},
            "param_groups": [group | groups.get(n, {}) for n, group in enumerate(present)],
        }
    )


def unsaved(optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of what an optimizer keeps that a checkpoint can't hold."""
    held = optimizer.state_dict()["state"].values()
    found = {name: value for kept in held for name, value in kept.items()}
    return [n for n, v in found.items() if not isinstance(v, torch.Tensor) and not _is_plain(v)]


def _optimizer_state(
    optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]
) -> dict[str, Any]:
    """Add the optimizer's tensors to `tensors`; what it keeps besides them."""
    found = optimizer.state_dict()
    groups = dict(enumerate(found["param_groups"]))
    return {
        "state": {n: _plain(f"optimizer.{n}", v, tensors) for n, v in found["state"].items()},
        "groups": {n: _plain(f"group.{n}", v, tensors) for n, v in groups.items()},
    }


def _plain(
    name: str, values: Mapping[str, Any], tensors: dict[str, torch.Tensor]
) -> dict[str, Any]:
    """What JSON can hold; tensors go to `tensors`. The rest (types, functions) are settings that
    an optimizer is made with again.
    """
    for key, value in values.items():
        if isinstance(value, torch.Tensor):
            tensors[f"{name}.{key}"] = value.contiguous()
    return {k: v for k, v in values.items() if k != "params" and _is_plain(v)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _joined(
    tensors: Mapping[str, torch.Tensor], plain: Mapping[str, Mapping[str, Any]]
) -> dict[int, dict[str, Any]]:
    """Values by number: tensors are named ``"3.exp_avg"``, the rest ``"step"`` under ``"3"``."""
    found: dict[int, dict[str, Any]] = {int(n): dict(values) for n, values in plain.items()}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        found.setdefault(int(index), {})[key] = tensor
    return found


def _laid_out(
    optimizer: torch.optim.Optimizer, index: int, kept: Mapping[str, Any]
) -> dict[str, Any]:
    """Tensors laid out in memory as their parameter is: norms add up in that order."""
    every = [p for group in optimizer.param_groups for p in group["params"]]
    like = every[index]
    return {
        name: torch.empty_like(like, dtype=value.dtype).copy_(value)
        if isinstance(value, torch.Tensor) and value.shape == like.shape
        else value
        for name, value in kept.items()
    }
