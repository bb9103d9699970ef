"""Everything a user can set: typed, checked, described once.

The command line, `config.toml` and the documentation all read these models, so a
setting has one name, one default and one description. Unknown names are refused.
`Preprocess` is here, too: it is the one thing `models` and `data` share.

Not here: what only developers turn (chunk sizes, tolerances) stays beside its code.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from bowerbird.errors import ConfigError

__all__ = [
    "Preprocess",
    "ReadConfig",
    "Recipe",
    "SplitConfig",
    "TrainConfig",
    "load_recipe",
    "parse_duration",
    "validated",
]


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


class Settings(BaseModel):
    """Base of all groups of settings: frozen, and unknown names refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


S = TypeVar("S", bound=Settings)


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


def _plausible_duration(text: str | None) -> str | None:
    parse_duration(text)
    return text


Duration = Annotated[str | None, AfterValidator(_plausible_duration)]


class TrainConfig(Settings):
    """How to train. The defaults are meant to be good; the budget is the main dial."""

    model: str = Field(
        "tf_efficientnet_lite0",
        description="Network: a timm name, or torchvision:NAME. `bowerbird models` lists them.",
    )
    weights: str = Field(
        "auto",
        description="auto: packaged, then the local caches, then online. none: random. "
        "Or a file (.safetensors, .pth), local-dir:FOLDER, hf-hub:NAME.",
    )
    offline: bool = Field(False, description="Never ask the network for weights.")
    image_size: int | None = Field(
        None, ge=16, le=4096, description="Input size in pixels; by default that of the weights."
    )
    method: Literal["auto", "probe", "finetune"] = Field(
        "auto",
        description="probe: a classifier on frozen features. finetune: train layers, last ones "
        "first. auto: probe, then fine-tune within the budget, keep what is better.",
    )
    budget: Duration = Field(
        None, description="Time for fine-tuning, e.g. 90s, 5m, 1h; by default from the data size."
    )
    epochs: int | None = Field(None, ge=1, description="Epochs of fine-tuning, if not the budget.")
    train_from: str | None = Field(
        None,
        description="Stage from which on fine-tuning trains in the end, e.g. layer3; by default "
        "from the data size and the budget.",
    )
    seed: int = Field(0, ge=0, description="Seed of everything random in training.")
    views: int = Field(
        2,
        ge=1,
        le=10,
        description="Enumerated views per training image that a probe learns from: "
        "1 plain, 2 and its mirror image, up to 10 with zooms and shifts.",
    )
    batch_size: int = Field(32, ge=2, description="Images per training step.")
    learning_rate: float | None = Field(
        None, gt=0, description="Peak rate for the head; by default from the method."
    )
    layer_decay: float = Field(
        0.7, gt=0, le=1, description="Factor on the rate for each stage further from the head."
    )
    weight_decay: float = Field(0.02, ge=0, description="AdamW weight decay.")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps that warm up.")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Share moved to other classes.")
    mixup: float = Field(0.0, ge=0, description="Mixup alpha; 0 is off.")
    cutmix: float = Field(0.0, ge=0, description="CutMix alpha; 0 is off.")
    augment: Literal["none", "light", "medium"] = Field(
        "light",
        description="Random changes while fine-tuning uncached layers. light: crop, mirror; "
        "medium: and rotation, colour.",
    )
    patience: int = Field(5, ge=1, description="Epochs without improvement before stopping.")
    balance: Literal["none", "loss", "sampler"] = Field(
        "none", description="Class imbalance: weigh the loss, or draw rare classes more often."
    )
    refit: bool = Field(
        False,
        description="After choosing, train once more on train and val together; test is then "
        "the only honest score.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto measures once which is faster on this machine."
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps.")
    workers: int | None = Field(None, ge=1, description="Threads; by default one per core.")

    @property
    def budget_seconds(self) -> float | None:
        """The budget in seconds, or None where none is set."""
        return parse_duration(self.budget)


class Recipe(Settings):
    """A whole experiment, as in a run's `config.toml`."""

    data: str | None = Field(None, description="The folder or table.")
    read: ReadConfig = Field(default_factory=ReadConfig)
    split: SplitConfig = Field(default_factory=SplitConfig)
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
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{name} in {origin}: {first['msg']}. Found: {first['input']!r}."
    fields = _field_names(kind)
    wanted = str(first["loc"][-1])
    close = difflib.get_close_matches(wanted, [field.rpartition(".")[2] for field in fields], n=1)
    found = [field for field in fields if close and field.rpartition(".")[2] == close[0]]
    hint = f" Did you mean {found[0]}?" if found else f" Known: {', '.join(sorted(fields))}."
    return f"There is no setting {name} in {origin}.{hint}"


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
