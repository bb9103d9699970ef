"""Which networks there are by name, how large they are, and where their weights come from.

Names, input sizes and licences are what the libraries say. Parameters and multiply-adds
are found by making a network without values and running it so (`summary`). That takes
part of a second each, so they are remembered in a file in the cache folder, as long as
the libraries stay the same; long lists show what is remembered unless more is asked for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bowerbird import progress, storage
from bowerbird.config import NetworkConfig
from bowerbird.errors import ModelError, RunError, WeightsError
from bowerbird.models import weights as sources
from bowerbird.models.columns import aligned
from bowerbird.models.networks import TORCHVISION, torchvision_pretrained, unknown_network
from bowerbird.models.passes import watched
from bowerbird.models.summary import without_weights

__all__ = ["Entry", "list_networks", "table"]

_AT_ONCE = 30
_SECONDS = 0.5  # about what one network takes
_WORDS = {"packaged": "installed", "cached": "on this machine", "online": "online"}


@dataclasses.dataclass(frozen=True)
class Entry:
    """A network's name, its size, and the state of its weights.

    Attributes:
        name: as ``--model`` takes it.
        weights: ``"installed"``, ``"on this machine"``, ``"online"`` or ``"none"``.
        licence: of the weights, as the source states it, or None.
        input_size: channels, height and width that the weights are for.
        parameters: number of parameters with the classes of the weights, or None where it
            wasn't worked out.
        multiply_adds: for one image, or None.
    """

    name: str
    weights: str
    licence: str | None
    input_size: tuple[int, int, int]
    parameters: int | None = None
    multiply_adds: int | None = None

    @property
    def here(self) -> bool:
        """Whether the weights are on this machine."""
        return self.weights in ("installed", "on this machine")

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self) | {"here": self.here}


def list_networks(pattern: str = "*", *, details: bool | None = None) -> list[Entry]:
    """Networks whose names match a shell pattern, in alphabetical order.

    Args:
        pattern: e.g. ``"resnext101*"``.
        details: work out parameters and multiply-adds that aren't remembered; None does so
            for at most thirty.

    Raises:
        ModelError: nothing matches (the message names the nearest).
    """
    import timm
    from torchvision import models

    names = set(timm.list_models()) | set(timm.list_pretrained())
    names |= {TORCHVISION + name for name in models.list_models(module=models)}
    found = sorted(name for name in names if fnmatch.fnmatchcase(name, pattern))
    if not found:
        raise unknown_network(pattern)
    known = {name: _pretrained(name) for name in found}
    figures = _figures(known, details)
    return [_entry(name, known[name], figures[name]) for name in found]


def table(entries: Sequence[Entry]) -> str:
    """The list as aligned text."""
    titles = ("network", "weights", "licence", "input", "parameters", "multiply-adds")
    return "\n".join(aligned([titles, *map(_cells, entries)], words=3))


def _cells(entry: Entry) -> tuple[str, ...]:
    millions = "-" if entry.parameters is None else f"{entry.parameters / 1e6:,.1f} M"
    billions = "-" if entry.multiply_adds is None else f"{entry.multiply_adds / 1e9:,.2f} G"
    size = " × ".join(map(str, entry.input_size[1:]))
    return (entry.name, entry.weights, entry.licence or "-", size, millions, billions)


def _entry(name: str, known: Mapping[str, Any], figures: Sequence[int | None]) -> Entry:
    size = tuple(known.get("input_size") or (3, 224, 224))
    try:
        source = sources.find(name, "auto", known, offline=False)
        weights, licence = _WORDS[source.kind], source.licence
    except WeightsError:
        weights, licence = "none", None
    return Entry(name, weights, licence, (size[0], size[1], size[2]), *figures)


def _pretrained(name: str) -> dict[str, Any]:
    from timm.models import get_pretrained_cfg
    from torchvision import models

    if name.startswith(TORCHVISION):
        short = name.removeprefix(TORCHVISION)
        crop: Any = models.get_model_weights(short).DEFAULT.transforms().crop_size
        return torchvision_pretrained(short) | {"input_size": (3, crop[0], crop[0])}
    try:
        found = get_pretrained_cfg(name)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{name!r}: {error}") from error
    return found.to_dict() if found else {}


def _figures(
    known: Mapping[str, Mapping[str, Any]], details: bool | None
) -> dict[str, tuple[int | None, int | None]]:
    """Parameters and multiply-adds by name; None where they aren't known."""
    keys = {name: _key(name, facts) for name, facts in known.items()}
    remembered = _remembered()
    missing: dict[str, str] = {}
    for name, key in keys.items():
        if key not in remembered:
            missing.setdefault(key, name)
    if details or (details is None and len(missing) <= _AT_ONCE):
        remembered = _measured(missing, remembered)
    elif missing and details is None:
        minutes = len(missing) * _SECONDS / 60
        progress.say(
            f"The sizes of {len(missing)} networks are not known yet. --details works them out "
            f"(about {minutes:.0f} min) and remembers them."
        )
    found = {name: remembered.get(key, [None, None]) for name, key in keys.items()}
    return {name: (figures[0], figures[1]) for name, figures in found.items()}


def _key(name: str, facts: Mapping[str, Any]) -> str:
    """The same for names that differ in their weights alone."""
    telling = [facts.get(key) for key in ("input_size", "num_classes", "global_pool")]
    return f"{name.partition('.')[0]} {' '.join(map(str, telling))}"


def _measured(
    missing: Mapping[str, str], remembered: dict[str, list[int | None]]
) -> dict[str, list[int | None]]:
    """Work out what is missing, and remember it; also what there is when interrupted."""
    found = dict(remembered)
    try:
        with progress.task("Sizes of networks", len(missing)) as task:
            for key, name in missing.items():
                task.note(name)
                found[key] = _measure(name)
                task.advance()
    finally:
        if len(found) > len(remembered):
            _remember(found)
    return found


def _measure(name: str) -> list[int | None]:
    try:
        network = without_weights(NetworkConfig(model=name), None)
    except (ModelError, ValueError):  # it needs arguments, or a package that isn't here
        return [None, None]
    size = (network.channels, *network.preprocess.input_size)
    try:
        calls = watched(network.module, size, values=False)
    except ModelError:  # it takes more than an image, or its code looks at values
        return [network.parameters, None]
    return [network.parameters, sum(call.multiply_adds for call in calls)]


def _file() -> Path:
    return storage.cache_home() / "networks.json"


def _versions() -> dict[str, str]:
    return {package: version(package) for package in ("torch", "torchvision", "timm")}


def _remembered() -> dict[str, list[int | None]]:
    """What is remembered; nothing if it is damaged or of other libraries."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        kept = json.loads(_file().read_text(encoding="utf-8"))
        if kept["libraries"] == _versions():
            return {str(key): [pair[0], pair[1]] for key, pair in kept["figures"].items()}
    return {}


def _remember(figures: Mapping[str, Sequence[int | None]]) -> None:
    try:
        storage.make_folder(_file().parent)
        storage.write_json(_file(), {"libraries": _versions(), "figures": figures})
    except RunError as error:
        progress.say(f"The sizes can't be remembered: {error}")
