"""Settings that are written as a word or two: durations, random changes of images."""

from __future__ import annotations

from bowerbird.errors import ConfigError

__all__ = ["AUGMENTATIONS", "parse_augment", "parse_duration"]

AUGMENTATIONS = {
    "crop": 0.35,
    "flip": 0.5,
    "rotate": 15.0,
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.3,
    "hue": 0.1,
    "grey": 0.1,
}
"""Random changes by name, with the amount (for flip and grey: the probability) by default."""


def parse_duration(text: str | float | None) -> float | None:
    """Seconds in ``"90"``, ``"90s"``, ``"5m"``, ``"1.5h"``; None stays None.

    Raises:
        ConfigError: the text is not a positive duration.

    >>> parse_duration("5m")
    300.0
    """
    if text is None:
        return None
    number, unit = str(text).strip().lower(), 1.0
    for ending, factor in (("s", 1.0), ("m", 60.0), ("h", 3600.0)):
        if number.endswith(ending):
            number, unit = number[:-1], factor
            break
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"{text!r} is not a duration. Write for example 90s, 5m or 1.5h.")
    return seconds


def parse_augment(text: str) -> dict[str, tuple[float, float]]:
    """Amount and probability of each random change in ``"flip,rotate=45,hue=0.1@0.5"``.

    ``none``, ``light`` and ``medium`` are short for lists; ``flip`` and ``grey`` have a
    probability and no amount.

    Raises:
        ValueError: a name is unknown, or a figure makes no sense.

    >>> parse_augment("flip,rotate=45@0.5")
    {'flip': (1.0, 0.5), 'rotate': (45.0, 0.5)}
    """
    long = {
        "none": "",
        "plain": "",
        "light": "crop,flip",
        "medium": "crop,flip,rotate,brightness,contrast,saturation",
    }
    found: dict[str, tuple[float, float]] = {}
    for part in filter(None, (p.strip() for p in long.get(text, text).split(","))):
        head, _, often = part.partition("@")
        name, _, amount = (word.strip() for word in head.partition("="))
        if name not in AUGMENTATIONS:
            raise ValueError(f"there is no change {name!r}; known: {', '.join(AUGMENTATIONS)}")
        found[name] = _strength(name, amount, often)
    return found


def _strength(name: str, amount: str, often: str) -> tuple[float, float]:
    most = {"rotate": 180.0, "hue": 0.5}.get(name, 1.0)
    drawn = name in ("flip", "grey")
    if drawn and amount:
        raise ValueError(f"{name} has no amount, only a probability: {name}@0.5")
    usual = AUGMENTATIONS[name]
    try:
        size = 1.0 if drawn else float(amount or usual)
        share = float(often or (usual if drawn else 1.0))
    except ValueError as error:
        raise ValueError(f"write for example {name}@0.5; amounts are numbers") from error
    if not 0 < size <= most or not 0 < share <= 1:
        raise ValueError(f"{name}: amounts go to {most:g}, probabilities to 1")
    return size, share
