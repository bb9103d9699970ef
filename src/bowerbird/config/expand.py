"""How a data set is expanded by augmented children of its training images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from bowerbird.config.augment import parse_augment
from bowerbird.config.base import Settings

__all__ = ["ExpandConfig"]


class ExpandConfig(Settings):
    """How many children of training images are written, what is done to them, and how."""

    per_class: int | None = Field(
        None,
        ge=1,
        description="Training images per class, originals and children together; by default as "
        "many as the largest class has.",
    )
    augment: str = Field(
        "flip,rotate=15,shift=0.1,zoom=0.9-1.2,fill=reflect,brightness=0.2,contrast=0.2",
        description="Random changes that make a child: light, medium, strong, or a list, e.g. "
        "rotate=15,shift=0.1,zoom=1.2,fill=wrap,flip@0.5.",
    )
    size: int = Field(
        224,
        ge=16,
        le=4096,
        description="Shorter side of a child in pixels; smaller images are not enlarged.",
    )
    format: Literal["jpg", "png"] = Field("jpg", description="Format of the children.")
    quality: int = Field(92, ge=1, le=100, description="Quality of JPEG children.")
    downsample: bool = Field(
        False, description="Take only --per-class images at random from classes that have more."
    )
    originals: Literal["link", "copy"] = Field(
        "link",
        description="link: originals become hard links, which take no room, and copies where the "
        "disk can't have them. copy: always copies.",
    )
    seed: int = Field(0, ge=0, description="Seed of the children; the same seed, the same pixels.")
    workers: int | None = Field(None, ge=1, description="Threads; by default one per core.")

    @field_validator("augment")
    @classmethod
    def _changes_something(cls, text: str) -> str:
        if not parse_augment(text):
            raise ValueError("children without a change would be copies; name one, e.g. flip")
        return text
