"""Networks as timm and torchvision make them, with weights, input channels and preprocessing.

Decisions:
- Preprocessing comes from the weights. For other than three channels: where there is one,
  or two, the average of the colours' mean (and deviation); beyond the third, the same.
- timm's ``in_chans`` makes its networks for other channels; in torchvision's, the first
  convolution is made anew (at PyTorch's own initialisation). Pretrained filters are adapted
  by `timm.models.adapt_input_conv`: summed for one channel, else repeated and scaled.
- torchvision's GoogLeNet and Inception are made without their auxiliary classifiers. Their
  rescaling of three colours becomes a mean and deviation of 0.5 for other channels.

The classifier is set, and layers are changed, in `networks`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import pickle
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from bowerbird.config import Preprocess
from bowerbird.errors import ModelError, WeightsError
from bowerbird.models import weights as sources
from bowerbird.models.cuts import classifier_name, classifier_names
from bowerbird.models.loading import differences, load_named, shortened
from bowerbird.models.weights import Weights

__all__ = [
    "TORCHVISION",
    "Made",
    "make",
    "torchvision_pretrained",
    "unknown_network",
]

TORCHVISION = "torchvision:"
_COLOURS = 3
_FIXED = ("vit_", "maxvit_")
_SCALING = ("googlenet", "inception_v3")
_FAILURES = (
    *(OSError, RuntimeError, ValueError, LookupError, AssertionError, EOFError),
    *(pickle.UnpicklingError, SafetensorError),
)


@dataclasses.dataclass(frozen=True)
class Made:
    """What a library made.

    Attributes:
        module: the network, in training mode.
        name: as the library knows it.
        num_classes: scores per image.
        preprocess: how an image becomes its input.
        source: where the weights came from.
        arguments: given to the constructor, beyond the classes and the channels.
    """

    module: Any
    name: str
    num_classes: int
    preprocess: Preprocess
    source: Weights
    arguments: Mapping[str, Any]


def make(
    name: str,
    num_classes: int | None,
    weights: str,
    offline: bool,
    image_size: int | None,
    channels: int,
    arguments: Mapping[str, Any],
) -> Made:
    """Make a network by its library; arguments as those of `networks.create_model`.

    timm's comes with the classes that are asked for, torchvision's with those of its
    weights.

    Raises:
        ModelError: the name is unknown, or the library refuses.
        WeightsError: no weights were found, or they don't fit.
    """
    if not name.startswith(TORCHVISION):
        return _timm(name, num_classes, weights, offline, image_size, channels, arguments)
    known, rest = _channels(channels, arguments)
    return _torchvision(name, num_classes, weights, offline, image_size, known, rest)


def torchvision_pretrained(short: str) -> dict[str, Any]:
    """What torchvision knows of a network's weights, in timm's words."""
    from torchvision import models

    default: Any = models.get_model_weights(short).DEFAULT
    return {"url": default.url, "license": "BSD-3-Clause (torchvision)"}


def unknown_network(name: str) -> ModelError:
    """The error for a name that no library knows, with the nearest ones."""
    import timm
    from torchvision import models

    names = timm.list_models() + timm.list_pretrained()
    names += [TORCHVISION + n for n in models.list_models(module=models)]
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}?" if close else "See `bowerbird models`."
    return ModelError(f"There is no network called {name!r}. {hint}")


def _channels(channels: int, arguments: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Input channels, also where they are given by timm's word, and the other arguments."""
    rest = dict(arguments)
    named = rest.pop("in_chans", channels)
    if type(named) is not int or named < 1 or (channels not in (_COLOURS, named)):
        raise ModelError(
            f"Input channels are given as {channels} and as in_chans={named!r}. Give channels "
            "(--channels) alone, 1 or more."
        )
    return named, rest


@contextlib.contextmanager
def _explained(name: str, source: Weights) -> Iterator[None]:
    """What the libraries raise when they can't make a network, as errors of ours."""
    try:
        yield
    except (TypeError, AttributeError) as error:
        raise ModelError(f"{name} doesn't take these arguments: {_first_line(error)}.") from error
    except _FAILURES as error:
        if source.kind == "online":
            searched = [f"online: {source.origin}: {_first_line(error)}"]
            raise WeightsError(sources.not_found(name, searched)) from error
        where = f" from {source.file}" if source.file else ""
        listed = shortened(differences(str(error)))
        reason = f"its tensors don't fit.\n{listed}" if listed else f"{_first_line(error)}."
        raise ModelError(f"{name} can't be made{where}: {reason}") from error


def _timm(
    name: str,
    num_classes: int | None,
    spec: str,
    offline: bool,
    image_size: int | None,
    channels: int,
    arguments: Mapping[str, Any],
) -> Made:
    import timm

    known: dict[str, Any] | None
    if name.startswith(sources.SOURCES):
        spec = name if spec == "auto" else spec
        known, name, saved = sources.configuration(name, offline=offline)
        made, kept = {"pretrained_cfg": known}, {**saved, **arguments}
    elif timm.is_model(name.split(".")[0]):
        known, made, kept = _timm_pretrained(name), {}, dict(arguments)
    else:
        raise unknown_network(name)
    source = sources.find(name, spec, known, offline=offline)
    channels, kept = _channels(channels, {**_timm_size_argument(known, image_size), **kept})
    given = {"in_chans": channels} if channels != _COLOURS else {}
    with _explained(name, source):
        module = _timm_module(name, num_classes, source, {**made, **given, **kept})
        count = int(module.num_classes)
    preprocess = _timm_preprocess(module, kept.get("img_size", image_size), channels)
    return Made(module, name, count, preprocess, source, kept)


def _timm_module(
    name: str, num_classes: int | None, source: Weights, arguments: Mapping[str, Any]
) -> Any:
    import timm

    classes = {} if num_classes is None else {"num_classes": num_classes}
    if source.kind in ("cached", "online"):
        online = {} if "://" in source.origin else {"hf_hub_id": source.origin}
        overlay = {"file": str(source.file)} if source.kind == "cached" else online
        return timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay=overlay, **classes, **arguments
        )
    if source.kind == "none":
        return timm.create_model(name, pretrained=False, **classes, **arguments)
    module: Any = timm.create_model(name, pretrained=False, **arguments)
    sources.load(module, source, _replaceable(module, num_classes), _timm_first_convs(module))
    if num_classes is not None and num_classes != module.num_classes:
        module.reset_classifier(num_classes)
    return module


def _replaceable(module: nn.Module, num_classes: int | None) -> tuple[str, ...]:
    """Layers that a file may have for another number of classes."""
    return () if num_classes is None else classifier_names(module)


def _timm_first_convs(module: nn.Module) -> tuple[str, ...]:
    known = (getattr(module, "pretrained_cfg", None) or {}).get("first_conv") or ()
    return (known,) if isinstance(known, str) else tuple(known)


def _timm_pretrained(name: str) -> dict[str, Any] | None:
    from timm.models import get_pretrained_cfg

    try:
        found = get_pretrained_cfg(name)
    except (RuntimeError, ValueError) as error:
        raise unknown_network(name) from error
    return found.to_dict() if found else None


def _timm_size_argument(known: Mapping[str, Any] | None, image_size: int | None) -> dict[str, Any]:
    """Networks with a fixed grid (most transformers) must be told the size when made."""
    fixed = image_size is not None and (known or {}).get("fixed_input_size")
    return {"img_size": image_size} if fixed else {}


def _timm_preprocess(
    module: nn.Module, image_size: int | Sequence[int] | None, channels: int
) -> Preprocess:
    from timm.data import resolve_model_data_config

    found = resolve_model_data_config(module)
    square = (image_size, image_size) if isinstance(image_size, int) else image_size
    height, width = square or found["input_size"][1:]
    levels = {key: _per_channel(found[key], channels) for key in ("mean", "std")}
    kept = {key: found[key] for key in ("crop_mode", "interpolation")}
    share = min(1.0, found["crop_pct"])  # a few ask for more than there is
    return Preprocess.model_validate(
        {**kept, "crop_pct": share, "input_size": (height, width), **levels}
    )


def _per_channel(colours: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Mean or deviation of three colours as that of `channels` channels."""
    if len(colours) == channels:
        return tuple(colours)
    average = sum(colours) / len(colours)
    if channels < len(colours):
        return (average,) * channels
    return tuple(colours) + (average,) * (channels - len(colours))


def _torchvision(
    name: str,
    num_classes: int | None,
    spec: str,
    offline: bool,
    image_size: int | None,
    channels: int,
    arguments: Mapping[str, Any],
) -> Made:
    from torchvision import models

    short = name.removeprefix(TORCHVISION)
    if short not in models.list_models(module=models):
        raise unknown_network(name)
    default: Any = models.get_model_weights(short).DEFAULT
    source = sources.find(name, spec, torchvision_pretrained(short), offline=offline)
    _refuse_size(name, default, image_size)
    extra: dict[str, Any] = {}
    kept = dict(arguments)
    if short.startswith("vit_"):
        extra = {"image_size": default.transforms().crop_size[0]}
    if short in _SCALING:
        extra = {"init_weights": True, "aux_logits": False}
        kept = {"transform_input": source.kind != "none" and channels == _COLOURS, **arguments}
    with _explained(name, source):
        module = models.get_model(short, weights=None, **{**extra, **kept})
        first = _set_first_conv(module, channels)
    if source.file is not None:
        sources.load(module, source, _replaceable(module, num_classes), (first,))
    elif source.kind == "online":
        tensors = _download(default, name)
        load_named(module, tensors, source.origin, _replaceable(module, num_classes), (first,))
    preprocess = _torchvision_preprocess(default, image_size, channels)
    if short in _SCALING and channels != _COLOURS and source.kind != "none":
        half = (0.5,) * channels
        preprocess = preprocess.model_copy(update={"mean": half, "std": half})
    last: Any = module.get_submodule(classifier_name(module))
    count = last.out_channels if isinstance(last, nn.Conv2d) else last.out_features
    return Made(module, name, count, preprocess, source, kept)


def _refuse_size(name: str, default: Any, image_size: int | None) -> None:
    only = default.transforms().crop_size[0]
    if image_size not in (None, only) and name.removeprefix(TORCHVISION).startswith(_FIXED):
        raise ModelError(
            f"{name} only takes images of {only} pixels, not {image_size}. Leave out "
            "--image-size, or use one of timm's networks."
        )


def _set_first_conv(module: nn.Module, channels: int) -> str:
    """Make the convolution that sees the image anew for `channels` channels; gives its path."""
    path: str
    path, old = next((n, m) for n, m in module.named_modules() if isinstance(m, nn.Conv2d))
    if old.in_channels != channels:
        shape: dict[str, Any] = {
            key: getattr(old, key)
            for key in ("kernel_size", "stride", "padding", "dilation", "padding_mode")
        }
        new = nn.Conv2d(channels, old.out_channels, bias=old.bias is not None, **shape)
        module.set_submodule(path, new)
    return path


def _download(weights: Any, name: str) -> Mapping[str, torch.Tensor]:
    try:
        tensors: Mapping[str, torch.Tensor] = weights.get_state_dict(progress=False)
    except OSError as error:
        searched = [f"online: {weights.url}: {_first_line(error)}"]
        raise WeightsError(sources.not_found(name, searched)) from error
    return tensors


def _torchvision_preprocess(weights: Any, image_size: int | None, channels: int) -> Preprocess:
    known = weights.transforms()
    crop, resize = known.crop_size[0], known.resize_size[0]
    size = image_size or crop
    return Preprocess(
        input_size=(size, size),
        crop_pct=min(1.0, crop / resize),
        interpolation=known.interpolation.value,
        mean=_per_channel(known.mean, channels),
        std=_per_channel(known.std, channels),
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
