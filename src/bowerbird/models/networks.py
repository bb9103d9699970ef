"""A network by name, with its weights and preprocessing: made, saved, loaded.

`Network` is the noun: the torch module and what must travel with it. Names are
timm's, or ``torchvision:NAME`` for torchvision's.

Decisions:
- Preprocessing comes from the weights, never from the user's memory.
- The classifier is always the network's own last layer, replaced to fit the classes,
  so that what we save loads in plain timm.
- A new classifier is drawn from a seed without touching torch's global generator.
- `save_network` writes timm's own ``config.json`` and puts what is ours beside it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import pickle
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import nn

from bowerbird import storage
from bowerbird.config import Preprocess
from bowerbird.errors import ModelError, RunError, WeightsError
from bowerbird.models import weights as sources
from bowerbird.models.cuts import classifier_name
from bowerbird.models.weights import Weights

__all__ = ["Network", "create_model", "load_network", "save_network"]

TORCHVISION = "torchvision:"
_seeded = threading.Lock()  # the generator that draws new layers is the process's
_FIXED = ("vit_", "maxvit_")
_FAILURES = (
    *(OSError, RuntimeError, ValueError, LookupError, AssertionError, EOFError),
    *(pickle.UnpicklingError, SafetensorError),
)
_WEIGHTS_FILE, _CONFIG_FILE, _OURS_FILE = "model.safetensors", "config.json", "bowerbird.json"


@dataclasses.dataclass(frozen=True)
class Network:
    """A torch module and what must travel with it.

    Attributes:
        module: the network, on the CPU, in evaluation mode.
        name: timm's name, or ``torchvision:NAME``.
        num_classes: scores per image.
        preprocess: how an image becomes its input.
        weights: where the weights came from.
        arguments: given to the constructor beyond the defaults.
    """

    module: nn.Module
    name: str
    num_classes: int
    preprocess: Preprocess
    weights: Weights
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.module.parameters())

    def to_dict(self) -> dict[str, Any]:
        """Facts for JSON."""
        return {
            "name": self.name,
            "num_classes": self.num_classes,
            "parameters": self.parameters,
            "weights": {
                "kind": self.weights.kind,
                "origin": self.weights.origin,
                "licence": self.weights.licence,
            },
            "preprocess": self.preprocess.model_dump(mode="json"),
            "arguments": dict(self.arguments),
        }

    def __repr__(self) -> str:
        millions = self.parameters / 1e6
        return (
            f"Network({self.name}, {millions:.1f} M parameters, {self.num_classes} classes, "
            f"{self.weights.kind} weights)"
        )


def create_model(
    name: str = "tf_efficientnet_lite0",
    *,
    num_classes: int | None = None,
    weights: str = "auto",
    offline: bool = False,
    image_size: int | None = None,
    seed: int = 0,
    **arguments: Any,
) -> Network:
    """Make a network with pretrained weights and a classifier of `num_classes`.

    Args:
        name: timm's name (``resnet50.a1_in1k``), or ``torchvision:NAME``.
        num_classes: scores per image; None keeps the classes of the weights.
        weights: ``"auto"``, ``"none"`` (random), or a file.
        offline: never ask the network.
        image_size: input height and width in pixels; by default that of the weights.
        seed: draws a new classifier, or all weights where there are none.
        **arguments: passed to the network's constructor.

    Raises:
        ModelError: the name is unknown (the message names the nearest ones), or the network
            doesn't take the arguments.
        WeightsError: no weights were found (the message lists every place searched).
    """
    _refuse_arguments(num_classes, arguments)
    with _seeded, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name.startswith(TORCHVISION):
            return _torchvision(name, num_classes, weights, offline, image_size, arguments)
        return _timm(name, num_classes, weights, offline, image_size, arguments)


def save_network(network: Network, folder: Path, classes: tuple[str, ...]) -> None:
    """Write ``model.safetensors`` and ``config.json`` as timm reads them, and our extras.

    ``timm.create_model("local-dir:FOLDER", pretrained=True)`` loads the result. The
    weights come last: where they are, the rest is, too.
    """
    from safetensors.torch import save

    storage.make_folder(folder)
    ours = network.to_dict() | {"classes": list(classes)}
    storage.write_json(folder / _OURS_FILE, ours)
    storage.write_json(folder / _CONFIG_FILE, _timm_config(network, classes))
    tensors = {k: v.detach().contiguous() for k, v in network.module.state_dict().items()}
    storage.write_bytes(folder / _WEIGHTS_FILE, save(tensors, metadata={"format": "pt"}))


def load_network(folder: Path) -> tuple[Network, tuple[str, ...]]:
    """Read what `save_network` wrote: the network and its class names in index order.

    Raises:
        RunError: a file is missing or damaged.
    """
    try:
        ours = json.loads((folder / _OURS_FILE).read_text(encoding="utf-8"))
        classes = tuple(ours["classes"])
        if len(classes) != ours["num_classes"]:
            raise ValueError(f"{len(classes)} class names, {ours['num_classes']} scores")
        source = Weights(**{k: ours["weights"][k] for k in ("kind", "origin", "licence")})
        preprocess = Preprocess.model_validate(ours["preprocess"])
        made = create_model(
            ours["name"], num_classes=ours["num_classes"], weights="none", **ours["arguments"]
        )
    except (OSError, LookupError, TypeError, ValueError, AttributeError, ModelError) as error:
        raise RunError(
            f"The model in {folder} is damaged or missing: {error}. Train again, or restore "
            "the folder from a copy."
        ) from error
    try:
        tensors = sources.read_tensors(folder / _WEIGHTS_FILE)
        sources.load_named(made.module, tensors, str(folder), None)
    except WeightsError as error:
        raise RunError(f"The model in {folder} is damaged or missing: {error}") from error
    network = dataclasses.replace(made, preprocess=preprocess, weights=source)
    return network, classes


def set_classifier(module: nn.Module, num_classes: int) -> None:
    """Replace the last layer by a new one with `num_classes` scores."""
    path = classifier_name(module)
    old = module.get_submodule(path)
    new: nn.Module
    if isinstance(old, nn.Conv2d):
        new = nn.Conv2d(old.in_channels, num_classes, kernel_size=1)
    else:
        new = nn.Linear(cast(nn.Linear, old).in_features, num_classes)
    module.set_submodule(path, new)


def _refuse_arguments(num_classes: int | None, arguments: Mapping[str, Any]) -> None:
    if num_classes is not None and num_classes < 1:
        raise ModelError(f"A network needs at least one class. Found: num_classes={num_classes}.")
    try:
        json.dumps(dict(arguments))
    except TypeError as error:
        raise ModelError(
            f"The network's arguments must be plain values, so that it can be saved: {error}. "
            "Give layers by name, e.g. act_layer='gelu'."
        ) from error


@contextlib.contextmanager
def _explained(name: str, source: Weights) -> Iterator[None]:
    """What the libraries raise when they can't make a network, as errors of ours."""
    try:
        yield
    except (TypeError, AttributeError) as error:
        raise ModelError(f"{name} doesn't take these arguments: {error}.") from error
    except _FAILURES as error:
        if source.kind == "online":
            searched = [f"online: {source.origin}: {_first_line(error)}"]
            raise WeightsError(sources.not_found(name, searched)) from error
        where = f" from {source.file}" if source.file else ""
        raise ModelError(f"{name} can't be made{where}: {_first_line(error)}.") from error


def _timm(
    name: str,
    num_classes: int | None,
    spec: str,
    offline: bool,
    image_size: int | None,
    arguments: Mapping[str, Any],
) -> Network:
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
    kept = {**_timm_size_argument(known, image_size), **kept}
    with _explained(name, source):
        module = _timm_module(name, num_classes, source, {**made, **kept})
    preprocess = _timm_preprocess(module, image_size)
    return Network(module.eval(), name, module.num_classes, preprocess, source, kept)


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
    sources.load(module, source, classifier_name(module) if num_classes else None)
    if num_classes is not None and num_classes != module.num_classes:
        module.reset_classifier(num_classes)
    return module


def _torchvision(
    name: str,
    num_classes: int | None,
    spec: str,
    offline: bool,
    image_size: int | None,
    arguments: Mapping[str, Any],
) -> Network:
    from torchvision import models

    short = name.removeprefix(TORCHVISION)
    if short not in models.list_models(module=models):
        raise unknown_network(name)
    default: Any = models.get_model_weights(short).DEFAULT
    source = sources.find(name, spec, torchvision_pretrained(short), offline=offline)
    extra, kept = {}, dict(arguments)
    if short in ("googlenet", "inception_v3"):
        extra = {"init_weights": True, "aux_logits": False}
        kept = {"transform_input": source.kind != "none", **arguments}
    if image_size not in (None, default.transforms().crop_size[0]) and short.startswith(_FIXED):
        raise ModelError(
            f"{name} only takes images of {default.transforms().crop_size[0]} pixels, not "
            f"{image_size}. Leave out --image-size, or use one of timm's networks."
        )
    with _explained(name, source):
        module = models.get_model(short, weights=None, **{**extra, **kept})
    if source.file is not None:
        sources.load(module, source, classifier_name(module) if num_classes else None)
    elif source.kind == "online":
        head = classifier_name(module) if num_classes else None
        sources.load_named(module, _download(default, name), source.origin, head)
    if num_classes is not None:
        set_classifier(module, num_classes)
    count = num_classes or 1000
    preprocess = _torchvision_preprocess(default, image_size)
    return Network(module.eval(), name, count, preprocess, source, kept)


def _download(weights: Any, name: str) -> Mapping[str, torch.Tensor]:
    try:
        tensors: Mapping[str, torch.Tensor] = weights.get_state_dict(progress=False)
    except OSError as error:
        searched = [f"online: {weights.url}: {_first_line(error)}"]
        raise WeightsError(sources.not_found(name, searched)) from error
    return tensors


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


def _timm_preprocess(module: nn.Module, image_size: int | None) -> Preprocess:
    from timm.data import resolve_model_data_config

    found = resolve_model_data_config(module)
    height, width = (image_size, image_size) if image_size else found["input_size"][1:]
    return Preprocess.model_validate(
        {key: found[key] for key in ("crop_pct", "crop_mode", "interpolation", "mean", "std")}
        | {"input_size": (height, width)}
    )


def _torchvision_preprocess(weights: Any, image_size: int | None) -> Preprocess:
    known = weights.transforms()
    crop, resize = known.crop_size[0], known.resize_size[0]
    size = image_size or crop
    return Preprocess(
        input_size=(size, size),
        crop_pct=min(1.0, crop / resize),
        interpolation=known.interpolation.value,
        mean=tuple(known.mean),
        std=tuple(known.std),
    )


def _timm_config(network: Network, classes: tuple[str, ...]) -> dict[str, Any]:
    shape = [len(network.preprocess.mean), *network.preprocess.input_size]
    pre = network.preprocess.model_dump(mode="json")
    pre.pop("input_size")
    first = getattr(network.module, "pretrained_cfg", None) or {}
    return {
        "architecture": network.name.split(".")[0],
        "num_classes": network.num_classes,
        "num_features": getattr(network.module, "num_features", None),
        "model_args": dict(network.arguments),
        "label_names": list(classes),
        "pretrained_cfg": {
            **pre,
            "input_size": shape,
            "num_classes": network.num_classes,
            "first_conv": first.get("first_conv"),
            "classifier": classifier_name(network.module),
            "license": network.weights.licence,
        },
    }


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
