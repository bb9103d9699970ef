"""Tensors of a file into a network: read, matched by name or in order, or refused with a diff.

Decisions:
- Nothing is unpickled: PyTorch files are read with ``weights_only=True``.
- All fits or nothing is loaded. What doesn't fit is listed, ten lines at most: ``±`` another
  shape, ``-`` missing in the file, ``+`` not part of the network.
- Filters for three colours are adapted to another number of channels; nothing else is.

Where a file comes from is decided in `weights`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bowerbird.errors import WeightsError

__all__ = ["apart", "differences", "load_named", "read_tensors", "shortened", "take_in_order"]

Tensors = Mapping[str, torch.Tensor]

_COLOURS = 3


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """Read a state dict from ``.safetensors`` or a PyTorch file; nothing is unpickled.

    Raises:
        WeightsError: the file is missing, damaged, or holds something else.
    """
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(str(file)))
        loaded: Any = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"There is no weights file {file}.") from error
    except Exception as error:  # the readers raise many kinds for a damaged file
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"The weights file {file} can't be read: {first}. Expected a state dict in "
            ".safetensors, or in a PyTorch file without pickled code."
        ) from error
    for key in ("state_dict", "model", "state_dict_ema"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            break
    if not isinstance(loaded, dict) or not all(torch.is_tensor(v) for v in loaded.values()):
        raise WeightsError(f"The weights file {file} doesn't hold a state dict of tensors.")
    return {name.removeprefix("module."): tensor for name, tensor in loaded.items()}


def apart(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same values, contiguous, no two in the same memory: as safetensors writes them.

    Tied weights have several names; each of them gets its own copy.
    """
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        value = tensor.detach().contiguous()
        pointer = value.untyped_storage().data_ptr()
        found[name] = value.clone() if pointer in seen else value
        seen.add(pointer)
    return found


def take_in_order(
    found: Tensors, wanted: Tensors, origin: str, first_convs: Sequence[str] = ()
) -> dict[str, torch.Tensor]:
    """Give the tensors of `found` the names of `wanted`, in order.

    Args:
        found: tensors with names of their own.
        wanted: tensors of the shapes and names that the network has.
        origin: where they come from, for the message.
        first_convs: see `load_named`.

    Raises:
        WeightsError: the numbers or a shape differ; lists the differences in order.
    """
    named: dict[str, torch.Tensor] = {}
    wrong: list[str] = []
    for theirs, ours in itertools.zip_longest(found, wanted):
        if theirs is None:
            wrong.append(_missing(ours, wanted[ours]))
        elif ours is None:
            wrong.append(_surplus(theirs, found[theirs]))
        else:
            named[ours] = _adapted(ours, found[theirs], wanted[ours], first_convs)
            if named[ours].shape != wanted[ours].shape:
                wrong.append(_other(theirs, found[theirs], f"{ours} is", wanted[ours]))
    if wrong:
        raise _misfit(origin, wrong)
    return named


def load_named(
    module: nn.Module,
    tensors: Tensors,
    origin: str,
    classifiers: Sequence[str] = (),
    first_convs: Sequence[str] = (),
) -> None:
    """Load by name.

    Args:
        module: the network; changed only if all fits.
        tensors: by name.
        origin: where they come from, for the message.
        classifiers: paths of layers that are left as they are where the file's have another
            number of classes; empty, and everything must fit.
        first_convs: paths of the convolutions that see the image. Filters for three colours
            are brought to the network's number of channels (`timm.models.adapt_input_conv`:
            summed for one, else repeated and scaled).

    Raises:
        WeightsError: names or shapes differ; lists them, ``-`` missing, ``+`` too many,
            ``±`` of another shape.
    """
    wanted = module.state_dict()
    auxiliary = ("aux1.", "aux2.", "AuxLogits.")
    given = {
        k: _adapted(k, v, wanted.get(k, v), first_convs)
        for k, v in tensors.items()
        if k in wanted or not k.startswith(auxiliary)
    }
    unfit = [k for k in given if k in wanted and given[k].shape != wanted[k].shape]
    for key in [k for k in unfit if k.startswith(tuple(f"{c}." for c in classifiers))]:
        given[key] = wanted[key]
        unfit.remove(key)
    wrong = [_other(k, given[k], "here", wanted[k]) for k in unfit]
    wrong += [_missing(k, wanted[k]) for k in wanted if k not in given]
    wrong += [_surplus(k, given[k]) for k in given if k not in wanted]
    if wrong:
        raise _misfit(origin, wrong)
    module.load_state_dict(given)


def differences(refusal: str) -> list[str]:
    """The same lines from what `torch.nn.Module.load_state_dict` says of misfits."""
    shape = r"torch\.Size\(\[([\d, ]*)\]\)"
    unfit = re.findall(rf"size mismatch for (\S+): .*?{shape} .*?{shape}", refusal)
    lines = [f"± {name}: ({theirs}) in the file, here ({ours})" for name, theirs, ours in unfit]
    for title, line in (
        ("Missing", "- {} is missing in the file"),
        ("Unexpected", "+ {} is not part of the network"),
    ):
        found = re.search(rf"{title} key\(s\) in state_dict: (.*?)\. *(?:\n|$)", refusal)
        lines += [line.format(name) for name in re.findall(r'"(.*?)"', found[1] if found else "")]
    return lines


def shortened(lines: list[str]) -> str:
    """At most ten lines, then how many more there are."""
    return "\n".join(lines[:10]) + (f"\n… and {len(lines) - 10} more" if lines[10:] else "")


def _adapted(
    name: str, tensor: torch.Tensor, slot: torch.Tensor, first_convs: Sequence[str]
) -> torch.Tensor:
    """Filters for three colours as filters for as many channels as `slot` has."""
    from timm.models import adapt_input_conv

    first = name.removesuffix(".weight") in first_convs and tensor.ndim == slot.ndim == 4
    if first and tensor.shape[1] == _COLOURS != slot.shape[1]:
        return torch.as_tensor(adapt_input_conv(slot.shape[1], tensor))
    return tensor


def _misfit(origin: str, wrong: list[str]) -> WeightsError:
    return WeightsError(
        f"The weights of {origin} belong to another network:\n{shortened(wrong)}\n"
        "Name the network they were made with by --model."
    )


def _other(theirs: str, found: torch.Tensor, ours: str, slot: torch.Tensor) -> str:
    return f"± {theirs}: {tuple(found.shape)} in the file, {ours} {tuple(slot.shape)}"


def _missing(name: str, slot: torch.Tensor) -> str:
    return f"- {name} {tuple(slot.shape)} is missing in the file"


def _surplus(name: str, found: torch.Tensor) -> str:
    return f"+ {name} {tuple(found.shape)} is not part of the network"
