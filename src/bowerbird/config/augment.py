"""Random changes of images as text: ``rotate=15,shift=0.1,zoom=1.2,fill=wrap,flip@0.5``.

Names, meanings and units are torchvision's where it has the transform. ``@`` is the
probability, ``=`` the furthest that the change goes, ``x`` parts sideways from up and down.

Decisions:
- Zoom is a factor on the picture, as in ``RandomAffine(scale=)``: 1.2 enlarges it. Keras
  means the opposite: its ``zoom_range=[1, 1.2]`` is ``zoom=0.8333-1x0.8333-1`` here.
- Shear is in degrees, as in torchvision and in Keras.
- What lies outside the picture is by default the mean of the weights' normalisation.
- Normalising is no random change: mean and deviation always come with the weights.
- Mixup and CutMix mix two images, not one: they are settings of their own.

What the changes do to pixels is in `data/augmenting/transforms`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

__all__ = ["AUGMENTATIONS", "PRESETS", "Amount", "Change", "Changes", "describe", "parse_augment"]

Amount = float | str | tuple[float, ...]
"""A number, a word (of ``fill``), or several numbers (of ``shift``, ``shear``, ``zoom`` …)."""

Changes = Mapping[str, tuple[Amount, float]]
"""Amount and probability by name."""

PRESETS: Final = {
    "none": "",
    "plain": "",
    "light": "crop,flip",
    "medium": "crop,flip,rotate,brightness,contrast,saturation",
    "strong": "crop,flip,trivialaugment,erasing@0.25",
}
"""Short for lists."""


@dataclass(frozen=True)
class Change:
    """A kind of random change.

    Attributes:
        words: what it does, for a person, from its amount.
        usual: its amount where none is given; empty for changes that have none.
        read: its amount from a text, None where it is out of `bounds`.
        bounds: how far amounts go, in words.
        share: its probability where none is given.
        moves: whether it shows what lies outside the picture.
    """

    words: Callable[[Amount], str]
    usual: str = ""
    read: Callable[[str], Amount | None] = float
    bounds: str = "go to 1"
    share: float = 1.0
    moves: bool = False


def parse_augment(text: str) -> dict[str, tuple[Amount, float]]:
    """Amount and probability of each random change in ``"flip,rotate=45,hue=0.1@0.5"``.

    The names of `PRESETS` are short for lists. ``flip``, ``vflip``, ``grey`` and
    ``trivialaugment`` have a probability and no amount, ``fill`` has no probability.

    Raises:
        ValueError: a name is unknown, or a figure makes no sense.

    >>> parse_augment("flip,rotate=45@0.5")
    {'flip': (1.0, 0.5), 'rotate': (45.0, 0.5)}
    >>> parse_augment("shift=0.1,zoom=1.2,fill=wrap")
    {'shift': ((0.1, 0.1), 1.0), 'zoom': ((1.0, 1.2), 1.0), 'fill': ('wrap', 1.0)}
    """
    found: dict[str, tuple[Amount, float]] = {}
    for part in filter(None, (p.strip() for p in PRESETS.get(text, text).split(","))):
        head, _, often = part.partition("@")
        name, _, amount = (word.strip() for word in head.partition("="))
        name = _SAME.get(name, name)
        if name not in AUGMENTATIONS:
            raise ValueError(_unknown(name))
        found[name] = _strength(name, amount, often)
    if "fill" in found and not any(AUGMENTATIONS[name].moves for name in found):
        moving = ", ".join(name for name, change in AUGMENTATIONS.items() if change.moves)
        raise ValueError(f"fill says what lies outside the picture; it goes with {moving}")
    return found


def describe(name: str, changes: Changes) -> str:
    """What one of `changes` does, in words, and how often.

    >>> describe("rotate", parse_augment("rotate=15@0.5,fill=wrap"))
    'turned up to 15° either way, edges wrapped, in 50 % of the images'
    """
    amount, share = changes[name]
    change = AUGMENTATIONS[name]
    words = [change.words(amount)]
    if change.moves:
        words.append(_edges(str(changes["fill"][0]) if "fill" in changes else "mean"))
    if share < 1:
        words.append(f"in {100 * share:g} % of the images")
    return ", ".join(words)


def _strength(name: str, amount: str, often: str) -> tuple[Amount, float]:
    change = AUGMENTATIONS[name]
    if amount and not change.usual:
        raise ValueError(f"{name} has no amount, only a probability: {name}@0.5")
    if often and name == "fill":
        raise ValueError("fill has no probability: it goes with the other changes")
    try:
        size = change.read(amount or change.usual) if change.usual else 1.0
        share = float(often or change.share)
    except ValueError as error:
        if name == "fill":
            raise ValueError(f"fill: colours {change.bounds}") from error
        example = f", e.g. {name}={change.usual}" if change.usual else ""
        raise ValueError(f"write for example {name}@0.5; amounts are numbers{example}") from error
    if size is None or not 0 < share <= 1:
        kind = "colours" if name == "fill" else "amounts"
        raise ValueError(f"{name}: {kind} {change.bounds}, probabilities to 1")
    return size, share


def _unknown(name: str) -> str:
    if name in ("mixup", "cutmix"):
        return f"{name} mixes two images and is a setting of its own: --{name} 0.2"
    near = difflib.get_close_matches(name, [*AUGMENTATIONS, *_SAME], 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    if name in PRESETS:
        hint = f" {name} stands alone; it is short for {PRESETS[name] or 'no change'}"
    return f"there is no change {name!r}; known: {', '.join(AUGMENTATIONS)}.{hint}".rstrip(".")


# Amounts from texts


def _number(most: float) -> Callable[[str], Amount | None]:
    """A number above 0 and not above `most`."""

    def read(text: str) -> float | None:
        return value if 0 < (value := float(text)) <= most else None

    return read


def _pair(most: float, *, alike: bool) -> Callable[[str], Amount | None]:
    """``AxB``, or ``A`` alone, which then is for both or, not `alike`, for the first."""

    def read(text: str) -> tuple[float, ...] | None:
        first, x, second = text.partition("x")
        pair = float(first), float(second) if x else float(first) * alike
        return pair if all(0 <= value <= most for value in pair) and any(pair) else None

    return read


def _zoom(text: str) -> tuple[float, ...] | None:
    """``LOW-HIGH`` for both sides alike, ``LOW-HIGHxLOW-HIGH`` for each by itself."""
    figures: tuple[float, ...] = ()
    for side in text.split("x"):
        low, dash, high = side.partition("-")
        ends = (float(low), float(high)) if dash else tuple(sorted((1.0, float(low))))
        figures += ends
    lows, highs = figures[::2], figures[1::2]
    rising = all(0.1 <= low <= high <= 10 for low, high in zip(lows, highs, strict=True))
    same = all(value == 1 for value in figures)
    return figures if rising and not same and len(figures) <= 4 else None


def _counts(text: str) -> tuple[float, ...] | None:
    """``NxM``: so many changes of that strength, as RandAugment has them."""
    number, _, strength = text.partition("x")
    pair = float(int(number)), float(int(strength or 9))
    return pair if 1 <= pair[0] <= 4 and 0 <= pair[1] <= 30 else None


def _fill(text: str) -> str | None:
    """A way to go on beyond the edges, or a colour as ``#rrggbb``."""
    word = {"constant": "mean", "black": "0", "white": "255"}.get(text.lower(), text.lower())
    if word in ("mean", "wrap", "reflect", "nearest"):
        return word
    if re.fullmatch("#[0-9a-f]{6}", word):
        return word
    level = int(word)
    return f"#{level:02x}{level:02x}{level:02x}" if 0 <= level <= 255 else None


# Amounts in words


def _one(template: str) -> Callable[[Amount], str]:
    return template.format


def _percent(template: str) -> Callable[[Amount], str]:
    return lambda amount: template.format(100 * cast("float", amount))


def _factor(what: str) -> Callable[[Amount], str]:
    def words(amount: Amount) -> str:
        return f"{what} times {1 - cast('float', amount):g} to {1 + cast('float', amount):g}"

    return words


def _moved(amount: Amount) -> str:
    across, down = cast("tuple[float, ...]", amount)
    parts = [f"{100 * across:g} % sideways"] * bool(across)
    parts += [f"{100 * down:g} % up or down"] * bool(down)
    return f"moved up to {' and '.join(parts)}"


def _slanted(amount: Amount) -> str:
    across, down = cast("tuple[float, ...]", amount)
    parts = [f"{across:g}° sideways"] * bool(across) + [f"{down:g}° up or down"] * bool(down)
    return f"slanted up to {' and '.join(parts)}"


def _scaled(amount: Amount) -> str:
    figures = [f"{100 * value:.3g}" for value in cast("tuple[float, ...]", amount)]
    sides = [f"{low} to {high} %" for low, high in zip(figures[::2], figures[1::2], strict=True)]
    if len(sides) == 1:
        return f"scaled to {sides[0]}"
    if sides[0] == sides[1]:
        return f"width and height scaled to {sides[0]}, each by itself"
    return f"width scaled to {sides[0]}, height to {sides[1]}"


def _several(amount: Amount) -> str:
    number, strength = cast("tuple[float, ...]", amount)
    return f"{number:g} of 14 changes, at strength {strength:g} of 30"


def _edges(fill: str) -> str:
    known = {
        "mean": "edges in the mean colour", "wrap": "edges wrapped", "reflect": "edges mirrored",
        "nearest": "edges drawn out", "#000000": "edges black", "#ffffff": "edges white",
    }  # fmt: skip
    return known.get(fill, f"edges {fill}")


AUGMENTATIONS: Final = {
    "crop": Change(
        _percent("a part cut out, {:g} to 100 % of the area"), "0.35", _number(1)
    ),
    "flip": Change(_one("left and right exchanged"), share=0.5),
    "rotate": Change(
        _one("turned up to {:g}° either way"), "15", _number(180), "go to 180", moves=True
    ),
    "brightness": Change(_factor("brightness"), "0.3", _number(1)),
    "contrast": Change(_factor("contrast"), "0.3", _number(1)),
    "saturation": Change(_factor("saturation"), "0.3", _number(1)),
    "hue": Change(
        _percent("hues turned up to {:g} % of the circle"), "0.1", _number(0.5), "go to 0.5"
    ),
    "grey": Change(_one("colours taken away"), share=0.1),
    "vflip": Change(_one("top and bottom exchanged"), share=0.5),
    "shift": Change(_moved, "0.1", _pair(1, alike=True), moves=True),
    "shear": Change(_slanted, "10", _pair(60, alike=False), "go to 60 (degrees)", moves=True),
    "zoom": Change(
        _scaled, "0.8-1.2", _zoom, "go from 0.1 to 10, e.g. 1.2, 0.8-1.2, 0.8-1x0.8-1", moves=True
    ),
    "fill": Change(
        _one(""), "mean", _fill, "are mean, wrap, reflect, nearest, 0 to 255, or #rrggbb"
    ),
    "blur": Change(_one("blurred, sigma 0.1 to {:g} pixels"), "2", _number(20), "go to 20"),
    "erasing": Change(
        _percent("a rectangle of 2 to {:g} % blanked"), "0.33", _number(1), share=0.5
    ),
    "trivialaugment": Change(_one("one of 14 changes, at any strength"), moves=True),
    "randaugment": Change(
        _several, "2x9", _counts, "are COUNTxSTRENGTH, to 4 and 30", moves=True
    ),
}  # fmt: skip
"""Random changes by name, in the order that they were added."""

_SAME: Final = {
    "hflip": "flip", "rotation": "rotate", "translate": "shift", "grayscale": "grey",
    "greyscale": "grey", "gaussianblur": "blur", "trivialaugmentwide": "trivialaugment",
    "randomerasing": "erasing",
}  # fmt: skip
"""Other names that people know them by."""
