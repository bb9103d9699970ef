"""Settings in which runs differ, from their resolved recipes: only those, as words.

Where a run's images are and how they were read is left out: images are compared by their bytes.
Values of one setting that are the same everywhere say nothing and are left out, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bowerbird.config import Recipe

__all__ = ["differing"]

_ELSEWHERE = ("data", "read")


def differing(recipes: Sequence[Recipe]) -> list[dict[str, str]]:
    """Per recipe, the settings in which it differs from another one.

    >>> from bowerbird.config import TrainConfig
    >>> differing([Recipe(), Recipe(train=TrainConfig(seed=1))])
    [{'seed': '0'}, {'seed': '1'}]
    """
    flat = [
        dict(_flat(recipe.model_dump(mode="json", exclude=set(_ELSEWHERE)))) for recipe in recipes
    ]
    names = dict.fromkeys(name for values in flat for name in values)
    apart = [name for name in names if len({values.get(name) for values in flat}) > 1]
    return [{name: values.get(name, "–") for name in apart} for values in flat]


def _flat(groups: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names without their groups: no two groups have one in common."""
    for values in groups.values():
        for name, value in values.items():
            yield name, _word(value)


def _word(value: Any) -> str:
    if value is None or value == []:
        return "–"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
