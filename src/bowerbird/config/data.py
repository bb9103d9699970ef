"""How DATA is read, and how images are held out."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from bowerbird.config.base import Settings

__all__ = ["ReadConfig", "SplitConfig"]


class ReadConfig(Settings):
    """How to read DATA. All of it is found out by itself where names are usual."""

    image_column: str | None = Field(None, description="Column of a table that names the image.")
    label_column: str | None = Field(None, description="Column of a table that names the class.")
    split_column: str | None = Field(None, description="Column that says train, val or test.")
    group_column: str | None = Field(None, description="Column whose groups stay together.")
    image_root: Path | None = Field(None, description="Folder that a table's paths start from.")


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
        "gives it, else 0.15 unless DATA gives splits.",
    )
    split_seed: int = Field(0, ge=0, description="Seed of the split.")
