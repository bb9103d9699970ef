"""Settings that are written as a word or two: durations. Changes of images are in `augment`."""

from __future__ import annotations

from bowerbird.errors import ConfigError

__all__ = ["parse_duration"]


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
