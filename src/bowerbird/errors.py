"""Every exception that Bowerbird raises on purpose, in one tree.

::

    BowerbirdError
    ├── ConfigError          a setting is unknown, out of range, or contradicts another
    ├── DataError            the folder or table as a whole can't be used
    │   └── ImageError       one image can't be used; listed and left out, never fatal
    ├── ModelError           the network is unknown or doesn't fit
    │   └── WeightsError     the weights can't be found or belong to another network
    ├── CacheError           caching would falsify the result, or the cache can't be used
    ├── RunError             a run's folder is missing, damaged, or in the way
    ├── MissingExtraError    an optional package is not installed
    └── Interrupted          stopped on request; everything is saved

A message says what was wrong, what was expected, what was found, and the next
step. Only `cli` turns these into exit codes; nothing else catches the base
class. What is not in this tree is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

__all__ = [
    "BowerbirdError",
    "CacheError",
    "ConfigError",
    "DataError",
    "ImageError",
    "Interrupted",
    "MissingExtraError",
    "ModelError",
    "RunError",
    "WeightsError",
]


class BowerbirdError(Exception):
    """Base of all errors that a user can act on."""


class ConfigError(BowerbirdError):
    """A setting is unknown, out of range, or contradicts another."""


class DataError(BowerbirdError):
    """The folder or table as a whole can't be used."""


class ImageError(DataError):
    """One image can't be used. Carries the reason without the path."""


class ModelError(BowerbirdError):
    """The network is unknown, or doesn't fit what is asked of it."""


class WeightsError(ModelError):
    """Weights can't be found, or belong to another network."""


class CacheError(BowerbirdError):
    """Caching would falsify the result, or the cache can't be used."""


class RunError(BowerbirdError):
    """A run's folder is missing, damaged, or in the way."""


class MissingExtraError(BowerbirdError):
    """An optional package is not installed; the message names the extra."""


class Interrupted(BowerbirdError):
    """Stopped on request (Ctrl-C, SIGTERM); everything is saved."""
