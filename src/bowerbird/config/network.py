"""Which network is trained, and how it is changed."""

from __future__ import annotations

import ast
import re
from typing import Any

from pydantic import Field, field_validator

from bowerbird.config.base import Settings

__all__ = ["NetworkConfig"]


class NetworkConfig(Settings):
    """Which network, from which weights, and how it is changed."""

    model: str = Field(
        "tf_efficientnet_lite0",
        description="Network: a timm name, or torchvision:NAME. `bowerbird models` lists them.",
    )
    weights: str = Field(
        "auto",
        description="auto: packaged, then the local caches, then online. none: random. "
        "Or a file (.safetensors, .pth), local-dir:FOLDER, hf-hub:NAME.",
    )
    pretrained: bool = Field(True, description="Off: random weights, the same as weights none.")
    offline: bool = Field(False, description="Never ask the network for weights.")
    image_size: int | None = Field(
        None, ge=16, le=4096, description="Input size in pixels; by default that of the weights."
    )
    channels: int = Field(
        3, ge=1, description="Input channels: 1 grey, 3 colour, 4 with alpha; first layer adapted."
    )
    model_arg: tuple[str, ...] = Field(
        (), description="NAME=VALUE for the network's constructor, e.g. base_width=48."
    )
    head: str = Field(
        "linear",
        description="The classifier: linear, cosine, or widths of hidden layers before it, "
        "e.g. 512 or 1024,256.",
    )
    head_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the classifier.")
    surgery: tuple[str, ...] = Field(
        (),
        description="Changes to the layers, in order: cut PLACE, append PLACE LAYER, insert PLACE "
        "LAYER, replace PLACE LAYER; e.g. cut features.6, or append features "
        "Conv2d(_, 512, 3, padding=1), where _ is the size that comes in.",
    )

    @property
    def source(self) -> str:
        """What to load: `weights`, or ``"none"`` if not `pretrained`."""
        return self.weights if self.pretrained else "none"

    @property
    def arguments(self) -> dict[str, Any]:
        """`model_arg` as names and Python values."""
        return dict(_argument(text) for text in self.model_arg)

    @field_validator("model_arg")
    @classmethod
    def _are_arguments(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            _argument(text)
        return texts

    @field_validator("surgery")
    @classmethod
    def _are_operations(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            verb, _, rest = text.strip().partition(" ")
            place, _, layer = rest.strip().partition(" ")
            if verb not in ("cut", "append", "insert", "replace") or not place:
                raise ValueError(f"write for example cut features.6; found {text!r}")
            if bool(layer) == (verb == "cut"):
                raise ValueError(f"{verb} takes a place {'only' if layer else 'and a layer'}")
        return texts

    @field_validator("head")
    @classmethod
    def _is_head(cls, head: str) -> str:
        if head not in ("linear", "cosine") and not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", head):
            raise ValueError("write linear, cosine, or widths such as 512 or 1024,256")
        return head


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip().isidentifier():
        raise ValueError(f"write NAME=VALUE, e.g. base_width=48; found {text!r}")
    try:
        return name.strip(), ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return name.strip(), value.strip()  # a word
