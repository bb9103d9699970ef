"""Whether a folder that is gone on with was begun with the same settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bowerbird.errors import ConfigError

__all__ = ["check_same"]


def check_same(
    place: str, before: Mapping[str, Any], now: Mapping[str, Any], what: str, part: str = ""
) -> None:
    """Refuse to go on with other settings than those something was begun with.

    Args:
        place: where it lies.
        before: settings in groups, as they were.
        now: as they are asked for.
        what: it is, e.g. ``"ablation"``.
        part: of it that these settings are of.

    Raises:
        ConfigError: the first setting that differs is named.
    """
    old, new = dict(_flat(before)), dict(_flat(now))
    other = [name for name in new if old.get(name) != new[name]]
    if other:
        name = other[0]
        raise ConfigError(
            f"{place} holds another {what}:{part} {name} was {old.get(name)!r} and is now "
            f"{new[name]!r}. Give the same settings to go on with it, or choose another --out."
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
