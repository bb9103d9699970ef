"""Writes down what was done to an image, as text that a person can read and that repeats it.

``rotate=-7.31 shift=0.052x-0.021 zoom=1.12x1.12 fill=wrap flip``: the names of
`config.augment`, but what happened instead of what could have.

Decisions:
- Figures have five digits. Who wants the text to repeat the pixels applies what was read
  back from it (`noted`).
- Operations of TrivialAugment and RandAugment go by torchvision's names, in their order.
"""

from __future__ import annotations

from typing import Any

from bowerbird.data.augmenting.policies import Operation
from bowerbird.data.augmenting.transforms import Augmentation
from bowerbird.errors import DataError

__all__ = ["from_text", "noted", "to_text"]

_PLAIN = Augmentation()
_WORDS = {"flip": "mirror", "vflip": "upturn", "grey": "grey"}
_NUMBERS = {
    "rotate": "angle", "brightness": "brightness", "contrast": "contrast",
    "saturation": "saturation", "hue": "hue", "blur": "blur",
}  # fmt: skip
_PAIRS = ("shift", "shear", "zoom")


def to_text(done: Augmentation) -> str:
    """One line; ``none`` where nothing was done.

    >>> to_text(Augmentation(angle=-7.31234567, mirror=True))
    'rotate=-7.3123 flip'
    """
    parts = []
    if done.area is not None:
        parts.append(f"crop={_figures(done.area, done.ratio, *done.place)}")
    parts += [
        f"{name}={_figures(getattr(done, field))}"
        for name, field in _NUMBERS.items()
        if getattr(done, field) != getattr(_PLAIN, field)
    ]
    parts += [
        f"{name}={_figures(*getattr(done, name))}"
        for name in _PAIRS
        if getattr(done, name) != getattr(_PLAIN, name)
    ]
    if done.fill != _PLAIN.fill:
        parts.append(f"fill={done.fill}")
    parts += [name for name, field in _WORDS.items() if getattr(done, field)]
    if done.erased is not None:
        parts.append(f"erasing={_figures(*done.erased)}")
    parts += [f"{one.name}={_figures(one.amount)}" for one in done.operations]
    return " ".join(parts) or "none"


def from_text(text: str) -> Augmentation:
    """What `to_text` wrote.

    Raises:
        DataError: the text is none of its.

    >>> from_text("rotate=-7.3123 flip").angle
    -7.3123
    """
    fields: dict[str, Any] = {}
    operations: list[Operation] = []
    for part in text.split() if text != "none" else ():
        name, _, amount = part.partition("=")
        try:
            if name[:1].isupper():
                operations.append(Operation(name, float(amount)))
            else:
                fields |= _fields(name, amount)
        except (KeyError, ValueError) as error:
            raise DataError(
                f"{part!r} in {text!r} is no change of an image. Expected for example "
                "rotate=-7.31 shift=0.05x-0.02 fill=wrap flip."
            ) from error
    return Augmentation(**fields, operations=tuple(operations))


def noted(done: Augmentation) -> Augmentation:
    """The same with as many digits as the text keeps."""
    return from_text(to_text(done))


def _fields(name: str, amount: str) -> dict[str, Any]:
    if name in _WORDS and not amount:
        return {_WORDS[name]: True}
    if name == "fill":
        return {"fill": amount}
    figures = tuple(float(figure) for figure in amount.split("x"))
    if name == "crop":
        area, ratio, left, top = figures
        return {"area": area, "ratio": ratio, "place": (left, top)}
    if name == "erasing":
        area, ratio, left, top = figures
        return {"erased": (area, ratio, left, top)}
    if name in _PAIRS:
        across, down = figures
        return {name: (across, down)}
    (figure,) = figures
    return {_NUMBERS[name]: figure}


def _figures(*values: float) -> str:
    return "x".join(f"{value:.5g}" for value in values)
