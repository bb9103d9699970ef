"""What all groups of settings have in common, and how an image becomes an input."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Preprocess", "Settings"]


class Settings(BaseModel):
    """Base of all groups of settings: frozen, and unknown names refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


class Preprocess(Settings):
    """How an image becomes a network's input; comes from the weights, travels with the run."""

    input_size: tuple[int, int] = Field((224, 224), description="Height and width in pixels.")
    crop_pct: float = Field(0.875, gt=0, le=1, description="Share of the shorter side kept.")
    crop_mode: Literal["center", "squash", "border"] = Field(
        "center",
        description="center: scale the shorter side, cut the middle. squash: ignore the aspect "
        "ratio. border: scale the longer side, fill the rest with the mean.",
    )
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] = Field(
        "bicubic", description="Resampling filter."
    )
    mean: tuple[float, ...] = Field((0.485, 0.456, 0.406), description="Per channel, of 0 to 1.")
    std: tuple[float, ...] = Field((0.229, 0.224, 0.225), description="Per channel, of 0 to 1.")
