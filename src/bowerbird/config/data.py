"""How DATA is read, and how images are held out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from bowerbird.config.base import Settings

__all__ = ["ReadConfig", "SplitConfig", "parse_group_by"]

GroupKind = Literal["column", "folder", "path"]


class ReadConfig(Settings):
    """How to read DATA. All of it is found out by itself where names are usual."""

    image_column: str | None = Field(None, description="Column of a table that names the image.")
    label_column: str | None = Field(None, description="Column of a table that names the class.")
    split_column: str | None = Field(None, description="Column that says train, val or test.")
    group_column: str | None = Field(None, description="Column whose groups stay together.")
    image_root: Path | None = Field(None, description="Folder that a table's paths start from.")
    manifest: Path | None = Field(
        None,
        description="A manifest that `bowerbird apply` or a run wrote: classes, splits, groups and "
        "images left out come from it.",
    )


class SplitConfig(Settings):
    """How images are held out, unless DATA says so itself."""

    val: float | None = Field(
        None,
        ge=0,
        description="Validation: a share below 1, or that many images per class; by default as "
        "DATA gives it, else 0.15.",
    )
    test: float | None = Field(
        None,
        ge=0,
        description="Test: a share below 1, or that many images per class; by default as DATA "
        "gives it, else 0.15 unless DATA gives splits; with folds none.",
    )
    split_seed: int = Field(0, ge=0, description="Seed of the split.")
    group_by: str | None = Field(
        None,
        description="What stays together: column:NAME (or just NAME) of a table; folder, the one "
        "an image lies in below its class; or path:REGEX, what it finds in the path (its first "
        "group), e.g. 'path:(IMG_[0-9]+)_'. Comes instead of a group column found by itself.",
    )
    folds: int | None = Field(
        None,
        ge=2,
        description="Cross-validation: so many parts, each of which is validation once.",
    )
    fold: int | None = Field(
        None, ge=1, description="Which of the folds is validation, from 1; by default each in turn."
    )
    lock_test: bool = Field(
        False,
        description="Don't look at the test images after training, but only when `bowerbird "
        "evaluate RUN --on test` is called.",
    )

    @field_validator("group_by")
    @classmethod
    def _is_grouping(cls, text: str | None) -> str | None:
        if text is not None:
            parse_group_by(text)
        return text

    @model_validator(mode="after")
    def _agree(self) -> SplitConfig:
        if self.fold is not None and self.folds is None:
            raise ValueError(f"fold {self.fold} of how many? Set folds, too")
        if self.fold is not None and self.folds is not None and self.fold > self.folds:
            raise ValueError(f"there is no fold {self.fold} of {self.folds}")
        if self.folds is not None and self.val is not None:
            raise ValueError("with folds, each fold is validation once: leave val out")
        return self


def parse_group_by(text: str) -> tuple[GroupKind, str]:
    r"""What kind of grouping is meant, and the column or regular expression.

    Raises:
        ValueError: nothing is named, or the regular expression is none.

    >>> parse_group_by("patient"), parse_group_by("folder"), parse_group_by(r"path:(\d+)_")
    (('column', 'patient'), ('folder', ''), ('path', '(\\d+)_'))
    """
    kind, colon, rest = text.partition(":")
    if text == "folder":
        return "folder", ""
    if colon and kind == "path":
        _compiled(rest)
        return "path", rest
    name = rest if colon and kind == "column" else text
    if not name.strip():
        raise ValueError("write column:NAME, folder or path:REGEX")
    return "column", name


def _compiled(pattern: str) -> None:
    if not pattern:
        raise ValueError("write a regular expression after path:, e.g. path:(IMG_[0-9]+)_")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
