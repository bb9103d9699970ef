"""The arms of an ablation: which settings are tried, under which names, in which order.

Decisions:
- A ladder starts without random changes and adds one step at a time. Several words are
  several steps, each of one or more changes; a single word is a list whose changes are added
  one by one, ``fill`` with the step before it. ``colour:hue=0.1,contrast=0.5`` names a step.
- Leaving out starts from the whole list; several words are groups that go together.
- `--vary` takes settings of network and training by the names of the command line. The first
  value of each is the base's. Values are parted by commas, or by semicolons where they hold
  commas themselves. ``none`` unsets a setting that can be unset.
- What would change the images that arms are judged on, or the seeds, can't be varied.
- Everything that can be wrong about names and values is found here, before anything is read.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from bowerbird.config import Recipe, mistake, parse_augment, validated
from bowerbird.config.augment import AUGMENTATIONS, PRESETS
from bowerbird.errors import ConfigError

__all__ = ["STUDY_LADDER", "Arm", "Kind", "ladder_arms", "leave_one_out_arms", "vary_arms"]

Kind = Literal["ladder", "leave-one-out", "vary"]

STUDY_LADDER = {
    "flip": "flip",
    "rotation": "rotate=45,fill=0",
    "colour": "brightness=0.5,contrast=0.5,saturation=0.5,hue=0.1",
    "greyscale": "grey@0.1",
}
"""The usual ladder, by the names of its steps. The study behind it normalises in a last step;
here mean and deviation of the weights are always used."""


_BARE, _WHOLE = "no augmentation", "all augmentations"


@dataclass(frozen=True)
class Arm:
    """One setting that is tried.

    Attributes:
        name: for people, unique in its ablation.
        slug: the same for names of folders.
        settings: what is set, by group and name, e.g. ``{"train.augment": "flip"}``.
        parts: how many steps, changes or settings it has beyond the simplest arm there could be.
        before: name of the arm that it adds a step to, in a ladder.
    """

    name: str
    slug: str
    settings: Mapping[str, Any]
    parts: int = 0
    before: str | None = None

    def __repr__(self) -> str:
        return f"Arm({self.name})"

    def apply(self, recipe: Recipe) -> Recipe:
        """The recipe with this arm's settings.

        Raises:
            ConfigError: they contradict other settings.
        """
        values = recipe.model_dump()
        for place, value in self.settings.items():
            group, _, name = place.partition(".")
            values[group] = values[group] | {name: value}
        return validated(Recipe, values, f"the arm {self.name}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"name": self.name, "settings": dict(self.settings), "before": self.before}


def ladder_arms(steps: Sequence[str] = ()) -> tuple[Arm, ...]:
    """No random changes, then one step more in each arm.

    Args:
        steps: as the module says; by default `STUDY_LADDER`.

    Raises:
        ConfigError: a change is unknown, or its figures make no sense.

    >>> [arm.name for arm in ladder_arms()]
    ['no augmentation', '+ flip', '+ rotation', '+ colour', '+ greyscale']
    >>> [arm.settings["train.augment"] for arm in ladder_arms(["flip,rotate=45,fill=0"])]
    ['none', 'flip', 'flip,rotate=45,fill=0']
    """
    named = dict(STUDY_LADDER)
    if any(step.strip() for step in steps):
        listed = _groups(steps)
        named = {name.strip() or text: text for name, text in map(_named, listed)}
        if len(named) < len(listed):
            raise ConfigError(f"A step of the ladder is given twice: {', '.join(listed)}.")
    lists = ["none", *itertools.accumulate(named.values(), lambda done, new: f"{done},{new}")]
    names = [_BARE, *(f"+ {_spaced(name)}" for name in named)]
    for text, name in zip(lists, names, strict=True):
        _checked(text, f"The step {name.removeprefix('+ ')!r} of the ladder")
    return _unique(
        Arm(
            name,
            _slug(name),
            {"train.augment": text},
            number,
            names[number - 1] if number else None,
        )
        for number, (name, text) in enumerate(zip(names, lists, strict=True))
    )


def leave_one_out_arms(changes: Sequence[str]) -> tuple[Arm, ...]:
    """All random changes, then each left out in turn.

    Args:
        changes: a list such as ``["flip,rotate=45,hue=0.1"]``, or several words.

    Raises:
        ConfigError: a change is unknown, or there is nothing to leave out.

    >>> arms = leave_one_out_arms(["flip,rotate=45,fill=0"])
    >>> [(arm.name, arm.settings["train.augment"]) for arm in arms[:2]]
    [('all augmentations', 'flip,rotate=45,fill=0'), ('without flip', 'rotate=45,fill=0')]
    """
    groups = _groups(changes)
    if not groups:
        raise ConfigError(
            "There is nothing to leave out: no random change is set. "
            "Name some: --leave-one-out flip,rotate=45,hue=0.1"
        )
    whole = ",".join(groups)
    _checked(whole, "The list for --leave-one-out")
    rests = {f"without {_spaced(group)}": _without(groups, group) for group in groups}
    if len(rests) < len(groups):
        raise ConfigError(f"A change is given twice: {whole}.")
    listed = {_WHOLE: whole} | rests
    for name, text in listed.items():
        _checked(text, f"What is left {name}")
    return _unique(
        Arm(name, _slug(name), {"train.augment": text}, len(groups) - (name != _WHOLE))
        for name, text in listed.items()
    )


def vary_arms(texts: Sequence[str], recipe: Recipe, *, grid: bool = False) -> tuple[Arm, ...]:
    """Settings varied one at a time, or all combinations of their values.

    Args:
        texts: each ``NAME=VALUE,VALUE``; the first value is the base's.
        recipe: the other settings.
        grid: all combinations.

    Raises:
        ConfigError: a setting is unknown or can't be varied, a value is refused, or there is
            nothing to compare.
    """
    factors = [_factor(text, recipe) for text in texts]
    places = [place for place, _ in factors]
    if len(set(places)) < len(places):
        twice = next(place for place in places if places.count(place) > 1)
        raise ConfigError(f"--vary {_option(twice)} is given twice. Put its values in one list.")
    lists = [values for _, values in factors]
    base = tuple(values[0] for values in lists)
    chosen = list(itertools.product(*lists)) if grid else _one_at_a_time(base, lists)
    return _unique(
        Arm(name, _slug(name), dict(zip(places, values, strict=True)), _changed(values, base))
        for values in chosen
        for name in [_name(places, values, base, whole=grid)]
    )


def _named(step: str) -> tuple[str, str]:
    """``colour:hue=0.1`` as name and list; the list is its own name where there is none."""
    name, colon, text = step.partition(":")
    return (name, text.strip()) if colon else (step, step)


def _spaced(text: str) -> str:
    """A list as it reads best."""
    return ", ".join(part.strip() for part in text.split(","))


def _one_at_a_time(base: tuple[Any, ...], lists: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """The base, then each other value of each setting."""
    others = [
        (*base[:place], value, *base[place + 1 :])
        for place, values in enumerate(lists)
        for value in values[1:]
    ]
    return [base, *others]


def _groups(words: Sequence[str]) -> list[str]:
    """The steps, or the changes of a single list; ``fill`` stays with the change before it."""
    filled = [word.strip() for word in words if word.strip()]
    if len(filled) != 1:
        return filled
    groups: list[str] = []
    for part in PRESETS.get(filled[0], filled[0]).split(","):
        if part.strip().startswith("fill") and groups:
            groups[-1] += f",{part.strip()}"
        elif part.strip():
            groups.append(part.strip())
    return groups


def _without(groups: Sequence[str], group: str) -> str:
    """The list without a group; a way to fill edges stays if anything else needs it."""
    rest = [part for other in groups if other != group for part in other.split(",")]
    fills = [part for part in group.split(",") if part.strip().startswith("fill")]
    if not any(part.strip().startswith("fill") for part in rest):
        rest += fills
    if not any(_moves(part) for part in rest):
        rest = [part for part in rest if not part.strip().startswith("fill")]
    return ",".join(rest) or "none"


def _moves(part: str) -> bool:
    name = re.split("[=@]", part.strip())[0]
    return name in AUGMENTATIONS and AUGMENTATIONS[name].moves


def _checked(text: str, what: str) -> None:
    try:
        parse_augment(text)
    except ValueError as error:
        raise ConfigError(f"{what}: {error}.") from error


def _factor(text: str, recipe: Recipe) -> tuple[str, list[Any]]:
    """The setting's place and its values."""
    name, equals, listed = text.partition("=")
    if not equals or not listed.strip():
        raise ConfigError(f"--vary {text!r}: write NAME=VALUE,VALUE, e.g. learning-rate=1e-3,3e-4.")
    place = _place(name.strip())
    parts = [part.strip() for part in listed.split(";" if ";" in listed else ",")]
    values: list[Any] = []
    for part in filter(None, parts):
        value = _value(place, part, recipe)
        if value not in values:
            values.append(value)
    if len(values) < 2:
        raise ConfigError(
            f"--vary {text!r} has one value, so there is nothing to compare. The first value is "
            "the base's; add others behind commas, or behind semicolons where a value holds commas."
        )
    return place, values


_SHORT = {"lr": "learning_rate", "wd": "weight_decay", "bs": "batch_size"}
_NOT_VARIED = {
    "seed": "Seeds are the same for every arm: choose how many with --seeds, the first with --seed",
    "refit": "A refit learns from the validation images that arms are judged on",
}


def _place(name: str) -> str:
    """``train.learning_rate`` for ``lr``, ``learning-rate`` or ``train.learning_rate``."""
    wanted = name.rpartition(".")[2].lstrip("-").replace("-", "_")
    wanted = _SHORT.get(wanted, wanted)
    if wanted in _NOT_VARIED:
        raise ConfigError(f"--vary {name} is not possible. {_NOT_VARIED[wanted]}.")
    groups = Recipe.model_fields
    for group in ("network", "train"):
        kind = groups[group].annotation
        if kind is not None and wanted in kind.model_fields:
            return f"{group}.{wanted}"
    for group in ("split", "read"):
        kind = groups[group].annotation
        if wanted == "data" or (kind is not None and wanted in kind.model_fields):
            raise ConfigError(
                f"--vary {name} is not possible: every arm is judged on the same images. "
                "For other images or splits run another ablation."
            )
    known = _names()
    close = difflib.get_close_matches(wanted.replace("_", "-"), known, n=2)
    hint = f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(known)}."
    raise ConfigError(f"--vary: there is no setting {name!r}. {hint}")


def _names() -> list[str]:
    fields = [Recipe.model_fields[group].annotation for group in ("network", "train")]
    names = [name for kind in fields if kind is not None for name in kind.model_fields]
    return sorted(name.replace("_", "-") for name in names if name not in _NOT_VARIED)


def _value(place: str, text: str, recipe: Recipe) -> Any:
    """The value as the recipe holds it."""
    group, _, name = place.partition(".")
    kind = type(getattr(recipe, group))
    default = kind.model_fields[name].default
    value: Any = text
    if place == "network.head" and text == "none":
        value = "linear"
    elif text in ("none", "default") and default in (None, ()):
        value = default
    elif isinstance(default, tuple) and name != "unfreeze":
        value = (text,)
    try:
        return getattr(kind.model_validate({name: value}), name)
    except ValidationError as error:
        where, words = mistake(error)
        if where:
            raise ConfigError(f"--vary {_option(place)}: {words}") from error
    return value  # it contradicts other settings' defaults: judged with the whole arm


def _changed(values: Sequence[Any], base: Sequence[Any]) -> int:
    return sum(value != usual for value, usual in zip(values, base, strict=True))


def _name(places: Sequence[str], values: Sequence[Any], base: Sequence[Any], *, whole: bool) -> str:
    """``base`` where several settings are varied, else its value; of others what differs."""
    if len(places) > 1 and not _changed(values, base):
        return "base"
    shown = [
        f"{_option(place)}={_words(value)}"
        for place, value, usual in zip(places, values, base, strict=True)
        if whole or len(places) == 1 or value != usual
    ]
    return ", ".join(shown)


def _option(place: str) -> str:
    return place.rpartition(".")[2].replace("_", "-")


def _words(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _slug(name: str) -> str:
    short = {_BARE: "none", _WHOLE: "all"}.get(name, name.replace("+ ", ""))
    plain = re.sub(r"[^\w.=-]+", "-", short).strip("-.")
    return (plain or "arm")[:60].rstrip("-.")


def _unique(arms: Iterator[Arm]) -> tuple[Arm, ...]:
    """Slugs that coincide, also where case is ignored, get numbers."""
    taken: dict[str, int] = {}
    found: list[Arm] = []
    for arm in arms:
        number = taken[arm.slug.lower()] = taken.get(arm.slug.lower(), 0) + 1
        slug = arm.slug if number == 1 else f"{arm.slug}~{number}"
        found.append(Arm(arm.name, slug, arm.settings, arm.parts, arm.before))
    return tuple(found)
