"""A whole experiment: all groups of settings, and the TOML file that holds them."""

from __future__ import annotations

import difflib
import itertools
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from bowerbird.config.base import Settings
from bowerbird.config.data import ReadConfig, SplitConfig
from bowerbird.config.network import NetworkConfig
from bowerbird.config.train import TrainConfig
from bowerbird.errors import ConfigError

__all__ = ["Recipe", "load_recipe", "mistake", "validated"]

S = TypeVar("S", bound=Settings)


class Recipe(Settings):
    """A whole experiment, as in a run's `config.toml`."""

    data: str | None = Field(None, description="The folder, table, archive or link.")
    read: ReadConfig = Field(default_factory=ReadConfig)
    split: SplitConfig = Field(default_factory=SplitConfig)
    network: NetworkConfig = Field(default_factory=NetworkConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)

    def to_toml(self) -> str:
        """The recipe as TOML; settings that are unset are left out."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from TOML.

    Raises:
        ConfigError: the file is missing, is not TOML, or holds a setting that doesn't exist.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors add the mark
    except OSError as error:
        raise ConfigError(f"The recipe {path} can't be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The recipe {path} is not valid TOML: {error}.") from error
    return validated(Recipe, values, f"the recipe {path}")


def validated(kind: type[S], values: dict[str, Any], origin: str) -> S:
    """Build settings from plain values, with one clear sentence for the first mistake."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_first_mistake(kind, error, origin)) from error


def _first_mistake(kind: type[Settings], error: ValidationError, origin: str) -> str:
    first = error.errors()[0]
    if first["type"] != "extra_forbidden":
        name, words = mistake(error)
        return f"{'.'.join(name)} in {origin}: {words}" if name else f"{origin}: {words}"
    fields = _field_names(kind)
    wanted = str(first["loc"][-1])
    close = difflib.get_close_matches(wanted, [field.rpartition(".")[2] for field in fields], n=1)
    found = [field for field in fields if close and field.rpartition(".")[2] == close[0]]
    hint = f" Did you mean {found[0]}?" if found else f" Known: {', '.join(sorted(fields))}."
    return f"There is no setting {'.'.join(map(str, first['loc']))} in {origin}.{hint}"


def mistake(error: ValidationError) -> tuple[list[str], str]:
    """The first setting that is refused, as group and name, and what is wrong with it.

    There is no name where settings of one group contradict each other.
    """
    first, *others = error.errors()
    name = _setting(first["loc"])
    same = [e["msg"] for e in others if _setting(e["loc"]) == name]  # of other types it may have
    words = " or ".join(dict.fromkeys([first["msg"], *same])).removeprefix("Value error, ")
    words = words.replace("a valid tuple", "a list")
    if isinstance(first["input"], dict | Settings):
        return name, f"{words}."
    return name, f"{words}. Found: {first['input']!r}."


def _setting(place: tuple[int | str, ...]) -> list[str]:
    """The part of a mistake's place that names settings, without what pydantic adds."""
    known = {name for group in Settings.__subclasses__() for name in group.model_fields}
    return [str(part) for part in itertools.takewhile(known.__contains__, place)]


def _field_names(kind: type[BaseModel], group: str = "") -> list[str]:
    """All settings, with the group they belong to: ``data``, ``split.val``."""
    names: list[str] = []
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += _field_names(inner, f"{group}{name}.")
        else:
            names.append(group + name)
    return names
