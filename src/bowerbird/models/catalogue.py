"""Which networks there are by name, and where their pretrained weights would come from.

Reads only what the libraries know of their networks; makes none of them.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from typing import Any

from bowerbird.errors import ModelError, WeightsError
from bowerbird.models import weights as sources
from bowerbird.models.networks import TORCHVISION, torchvision_pretrained, unknown_network

__all__ = ["Entry", "list_networks"]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A network's name and the state of its weights.

    Attributes:
        name: as ``--model`` takes it.
        weights: ``"installed"``, ``"on this machine"``, ``"online"`` or ``"none"``.
        licence: of the weights, as the source states it, or None.
    """

    name: str
    weights: str
    licence: str | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


_WORDS = {"packaged": "installed", "cached": "on this machine", "online": "online"}


def list_networks(pattern: str = "*") -> list[Entry]:
    """Networks whose names match a shell pattern, in alphabetical order.

    Raises:
        ModelError: nothing matches (the message names the nearest).
    """
    import timm
    from torchvision import models

    names = set(timm.list_models()) | set(timm.list_pretrained())
    names |= {TORCHVISION + name for name in models.list_models(module=models)}
    found = sorted(name for name in names if fnmatch.fnmatch(name, pattern))
    if not found:
        raise unknown_network(pattern)
    return [_entry(name) for name in found]


def _entry(name: str) -> Entry:
    known = _pretrained(name)
    try:
        source = sources.find(name, "auto", known, offline=False)
    except WeightsError:
        return Entry(name, "none", None)
    return Entry(name, _WORDS[source.kind], source.licence)


def _pretrained(name: str) -> dict[str, Any]:
    from timm.models import get_pretrained_cfg

    if name.startswith(TORCHVISION):
        return torchvision_pretrained(name.removeprefix(TORCHVISION))
    try:
        found = get_pretrained_cfg(name)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{name!r}: {error}") from error
    return found.to_dict() if found else {}
