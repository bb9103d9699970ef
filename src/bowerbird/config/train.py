"""How a network is trained."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from bowerbird.config.augment import parse_augment
from bowerbird.config.base import Settings
from bowerbird.config.texts import parse_duration

__all__ = ["TrainConfig"]


def _plausible_duration(text: str | None) -> str | None:
    parse_duration(text)
    return text


Duration = Annotated[str | None, AfterValidator(_plausible_duration)]


def _unfreezing(value: Any) -> Any:
    """``{0: "head", 4: "layer4"}`` and ``"0=head,4=layer4"`` as ``("0=head", "4=layer4")``."""
    if isinstance(value, dict):
        value = [f"{epoch}={name}" for epoch, name in value.items()]
    if isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    return tuple(text.strip() for text in str(value).split(",") if text.strip())


class TrainConfig(Settings):
    """How to train. The defaults are meant to be good; the budget is the main dial."""

    method: Literal["auto", "probe", "finetune", "gradual", "plain"] = Field(
        "auto",
        description="probe: a classifier on frozen features. finetune: train layers, last ones "
        "first. auto: probe, then fine-tune within the budget, keep what is better. gradual: "
        "unfreeze stage by stage. plain: the usual loop over all that is not frozen.",
    )
    budget: Duration = Field(
        None, description="Time for fine-tuning, e.g. 90s, 5m, 1h; by default from the data size."
    )
    epochs: int | None = Field(None, ge=1, description="Epochs of fine-tuning, if not the budget.")
    freeze_until: str | None = Field(
        None,
        description="Freeze what is defined before this stage, layer or parameter, e.g. "
        "layer4.0.conv1; by default from the data size and the budget.",
    )
    freeze: str | None = Field(
        None,
        description="Freeze the backbone (backbone), a share of the layers from the input on "
        "(0.8), or names and patterns (conv1,layer1.*).",
    )
    batch_norm: Literal["frozen", "trained"] | None = Field(
        None,
        description="Statistics of batch-norm: frozen as pretrained, or trained, frozen layers' "
        "too, which rules out their cache; by default trained only with random weights.",
    )
    unfreeze: Annotated[tuple[str, ...], BeforeValidator(_unfreezing)] = Field(
        (), description="Gradual: from which epoch on which stage learns, e.g. 0=head,4=layer4."
    )
    unfreeze_factor: float = Field(
        0.5, gt=0, le=1, description="Gradual: factor on all learning rates at each step."
    )
    head_start: Literal["probe", "random"] | None = Field(
        None,
        description="The classifier at the beginning: learnt by a probe, or random; by default "
        "random for plain and for heads that are not linear.",
    )
    seed: int = Field(0, ge=0, description="Seed of everything random in training.")
    views: int = Field(
        2,
        ge=1,
        le=10,
        description="Enumerated views per training image that a probe learns from: "
        "1 plain, 2 and its mirror image, up to 10 with zooms and shifts.",
    )
    batch_size: Annotated[int, Field(ge=2)] | Literal["auto"] = Field(
        32, description="Images per batch; auto: as many as fit the memory, 256 at most."
    )
    accumulate: int = Field(
        1, ge=1, description="Batches per step of the optimizer, as if they were one."
    )
    optimizer: str = Field(
        "adamw", description="adamw, adam, sgd, or any name that timm's factory knows."
    )
    learning_rate: float | None = Field(
        None, gt=0, description="Peak rate for the head; by default 0.001, for sgd 0.01."
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of sgd.")
    nesterov: bool = Field(False, description="Nesterov's form of momentum.")
    layer_decay: float = Field(
        0.7,
        gt=0,
        le=1,
        description="Factor on the rate for each stage further from the head; random weights "
        "always have 1.",
    )
    weight_decay: float | None = Field(
        None,
        ge=0,
        description="Decay of weights, not of biases and normalisation; by default 0.02 for "
        "adamw, else 0.",
    )
    schedule: Literal["cosine", "step", "one-cycle", "plateau", "constant"] = Field(
        "cosine", description="How the learning rate goes after the warm-up."
    )
    decay_epochs: int | None = Field(
        None,
        ge=1,
        description="Step: epochs between falls (a third of all). Plateau: epochs without "
        "improvement before one (2).",
    )
    decay_rate: float = Field(0.1, gt=0, lt=1, description="Step and plateau: factor of a fall.")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps that warm up.")
    clip_norm: float | None = Field(
        None, gt=0, description="Longest gradient, as the norm over all parameters."
    )
    ema: float = Field(
        0.0, ge=0, lt=1, description="Decay of a moving average of the weights; 0 is off."
    )
    soup: int = Field(
        1, ge=1, le=20, description="Average the weights of this many best epochs, if it is better."
    )
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Share moved to other classes.")
    mixup: float = Field(0.0, ge=0, description="Mixup alpha; 0 is off.")
    cutmix: float = Field(0.0, ge=0, description="CutMix alpha; 0 is off.")
    augment: str = Field(
        "light",
        description="Random changes while training uncached layers: none; light: crop, mirror; "
        "medium: and rotation, colour; strong: crop, mirror, TrivialAugment, erasing; or a list, "
        "e.g. flip,rotate=45,shift=0.1,zoom=1.2,fill=wrap,brightness=0.5,grey@0.1.",
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
    allow_double_softmax: bool = Field(
        False, description="Train a network that ends in a softmax all the same."
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

    @property
    def unfreeze_steps(self) -> dict[int, str]:
        """`unfreeze` as epochs (0 is the first) and stages, in order of the epochs."""
        pairs = [text.partition("=") for text in self.unfreeze]
        return dict(sorted((int(epoch), name) for epoch, _, name in pairs))

    @field_validator("unfreeze")
    @classmethod
    def _are_steps(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"\d+=\S+", text) for text in texts):
            raise ValueError("write EPOCH=STAGE, e.g. 0=head,4=layer4,8=layer3")
        if len({int(text.partition("=")[0]) for text in texts}) < len(texts):
            raise ValueError("one epoch is given twice")
        return texts

    @field_validator("augment")
    @classmethod
    def _is_augmentation(cls, text: str) -> str:
        parse_augment(text)
        return text

    @model_validator(mode="after")
    def _agree(self) -> TrainConfig:
        if self.freeze is not None and self.freeze_until is not None:
            raise ValueError("freeze and freeze_until can't both be set")
        if self.unfreeze and self.method != "gradual":
            raise ValueError(f"unfreeze is for the method gradual, not for {self.method}")
        if self.nesterov and (self.optimizer.lower() != "sgd" or not self.momentum):
            raise ValueError("nesterov is a form of sgd with a momentum above 0")
        if self.budget and self.unfreeze and self.epochs is None:
            raise ValueError("with unfreeze the epochs count, not a budget; set epochs")
        return self
