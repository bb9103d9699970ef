"""A network by name, with its weights, structure and preprocessing: made, saved, loaded.

`Network` is the noun: the torch module and what must travel with it. Names are
timm's, or ``torchvision:NAME`` for torchvision's.

Decisions:
- Order: the library makes the network (`libraries`), pretrained weights are loaded, layers
  are changed (`surgery`), the classifier is set (`heads`). So what stays keeps its weights.
- The classifier sits where the network's own last layer was; a plain linear one without
  surgery is an ordinary timm network, and what we save loads in plain timm.
- New layers are drawn from a seed without touching torch's global generator.
- The structure is plain data (name, arguments, channels, surgery, head): `load_network`
  makes it again from ``bowerbird.json``.
- `save_network` writes timm's own ``config.json`` and puts what is ours beside it.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bowerbird import storage
from bowerbird.config import NetworkConfig, Preprocess
from bowerbird.errors import ConfigError, ModelError, RunError, WeightsError
from bowerbird.models import heads, libraries, loading
from bowerbird.models import surgery as surgeries
from bowerbird.models.cuts import classifier_names
from bowerbird.models.libraries import TORCHVISION, torchvision_pretrained, unknown_network
from bowerbird.models.weights import SOURCES, Weights

__all__ = [
    "TORCHVISION",
    "Network",
    "create_model",
    "from_config",
    "load_network",
    "save_network",
    "set_classifier",
    "torchvision_pretrained",
    "unknown_network",
]

_seeded = threading.Lock()  # the generator that draws new layers is the process's
_COLOURS = 3
_IN_FILES = (1, _COLOURS, 4)
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
        channels: of an input.
        surgery: what was changed about the layers, with every size as a number.
        head: kind of the classifier, see `heads`.
        head_dropout: before the classifier.
    """

    module: nn.Module
    name: str
    num_classes: int
    preprocess: Preprocess
    weights: Weights
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    channels: int = 3
    surgery: tuple[str, ...] = ()
    head: str = "linear"
    head_dropout: float = 0.0

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
            "channels": self.channels,
            "surgery": list(self.surgery),
            "head": self.head,
            "head_dropout": self.head_dropout,
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
    channels: int = 3,
    head: str = "linear",
    head_dropout: float = 0.0,
    surgery: Sequence[str] = (),
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
        channels: of an input; pretrained first filters are adapted.
        head: ``"linear"``, ``"cosine"``, or widths of hidden layers (``"1024,256"``). Anything
            but a plain linear one is new, and loads through Bowerbird only.
        head_dropout: share of the values dropped before the classifier in training.
        surgery: changes to the layers in order, see `bowerbird.models.surgery`. A changed
            network loads through Bowerbird only.
        seed: draws new layers, or all weights where there are none.
        **arguments: passed to the network's constructor.

    Raises:
        ModelError: the name is unknown (the message names the nearest ones), the network
            doesn't take the arguments, or its layers don't fit after the surgery.
        WeightsError: no weights were found (the message lists every place searched), or they
            belong to another network (the message lists the differences).
    """
    _refuse_changed_folder(name)
    facts = (name, num_classes, weights, offline, image_size, channels, arguments)
    lines = (surgery,) if isinstance(surgery, str) else tuple(surgery)
    return _created(facts, lines, head, head_dropout, seed)


def from_config(config: NetworkConfig, num_classes: int | None, seed: int) -> Network:
    """The network that the settings name, for image files.

    Args:
        config: the settings.
        num_classes: scores per image; None keeps the classes of the weights.
        seed: draws new layers, or all weights where there are none.

    Raises:
        ConfigError: image files have no such number of channels, or `model_arg` sets what has
            a setting of its own.
        ModelError, WeightsError: see `create_model`.
    """
    arguments = config.arguments
    channels = arguments.get("in_chans", config.channels)
    if channels not in _IN_FILES:
        raise ConfigError(
            f"Image files are read with 1 channel (grey), 3 (colour) or 4 (with alpha), not "
            f"{channels}. Set --channels to one of these; create_model(channels={channels}) "
            "makes a network for tensors of your own."
        )
    taken = arguments.keys() & inspect.signature(create_model).parameters.keys()
    if taken:
        name = min(taken)
        raise ConfigError(f"model_arg can't set {name}: there is a setting or argument for it.")
    return create_model(
        config.model,
        num_classes=num_classes,
        weights=config.source,
        offline=config.offline,
        image_size=config.image_size,
        channels=config.channels,
        head=config.head,
        head_dropout=config.head_dropout,
        surgery=config.surgery,
        seed=seed,
        **arguments,
    )


def save_network(network: Network, folder: Path, classes: tuple[str, ...]) -> None:
    """Write ``model.safetensors`` and ``config.json`` as timm reads them, and our extras.

    ``timm.create_model("local-dir:FOLDER", pretrained=True)`` loads the result where the
    classifier is a plain linear layer and there was no surgery; `load_network` always does.
    The weights come last: where they are, the rest is, too.
    """
    from safetensors.torch import save

    storage.make_folder(folder)
    ours = network.to_dict() | {"classes": list(classes)}
    storage.write_json(folder / _OURS_FILE, ours)
    storage.write_json(folder / _CONFIG_FILE, _timm_config(network, classes))
    tensors = loading.apart(network.module.state_dict())
    storage.write_bytes(folder / _WEIGHTS_FILE, save(tensors, metadata={"format": "pt"}))


def load_network(folder: Path) -> tuple[Network, tuple[str, ...]]:
    """Read what `save_network` wrote: the network and its class names in index order.

    Raises:
        RunError: a file is missing or damaged.
    """
    try:
        ours = json.loads((folder / _OURS_FILE).read_text(encoding="utf-8"))
        network, classes = _described(ours)
    except (OSError, LookupError, TypeError, ValueError, AttributeError, ModelError) as error:
        raise RunError(
            f"The model in {folder} is damaged or missing: {error}. Train again, or restore "
            "the folder from a copy."
        ) from error
    try:
        tensors = loading.read_tensors(folder / _WEIGHTS_FILE)
        loading.load_named(network.module, tensors, str(folder))
    except WeightsError as error:
        raise RunError(f"The model in {folder} is damaged or missing: {error}") from error
    return network, classes


def set_classifier(
    module: nn.Module,
    num_classes: int,
    head: str = "linear",
    dropout: float = 0.0,
    sizes: Mapping[str, int] | None = None,
) -> None:
    """Replace the last layer, or all of them where there are several, by new ones.

    Args:
        module: the network.
        num_classes: scores per image.
        head: kind of the classifier, see `heads.make_head`.
        dropout: before it.
        sizes: of the features that come into each; by default as before.
    """
    for path in classifier_names(module):
        old: Any = module.get_submodule(path)
        positions = isinstance(old, nn.Conv2d)
        size = (sizes or {}).get(path, old.in_channels if positions else old.in_features)
        new = heads.make_head(head, size, num_classes, dropout, positions=positions)
        module.set_submodule(path, new)
    owner: Any = module
    if hasattr(module, "num_classes"):
        owner.num_classes = num_classes


def _created(
    facts: tuple[str, int | None, str, bool, int | None, int, Mapping[str, Any]],
    surgery: tuple[str, ...],
    head: str,
    head_dropout: float,
    seed: int = 0,
    preprocess: Preprocess | None = None,
) -> Network:
    """Make the network of these `facts` (see `libraries.make`) and change it."""
    _, num_classes, _, _, _, channels, arguments = facts
    _refuse_arguments(num_classes, channels, arguments)
    heads.refuse_unknown(head, head_dropout)
    with _seeded, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = libraries.make(*facts)
        found = preprocess or made.preprocess
        network = Network(
            made.module.eval(), made.name, made.num_classes, found, made.source, made.arguments,
            len(found.mean), surgery, head, head_dropout,
        )  # fmt: skip
        return _restructured(network, num_classes)


def _restructured(network: Network, num_classes: int | None) -> Network:
    """The network with its layers changed, if they are to be, and its classifier set."""
    module, count = network.module, num_classes or network.num_classes
    shape = (2, network.channels, *network.preprocess.input_size)
    done = surgeries.perform(module, network.surgery, shape)
    own = network.head != "linear" or network.head_dropout > 0
    sizes = None
    if done and (own or num_classes is not None):
        sizes = surgeries.sizes_into(module, classifier_names(module), shape)
    moved = sizes is not None and not _fits(module, sizes, count)
    if own or moved or count != network.num_classes:
        set_classifier(module, count, network.head, network.head_dropout, sizes)
    if done or network.channels != _COLOURS:
        count = surgeries.check(module, shape)[1]
    if num_classes not in (None, count):
        raise ModelError(
            f"The network gives {count} scores instead of {num_classes}: what follows its last "
            "linear layer changes their number."
        )
    return dataclasses.replace(network, module=module.eval(), num_classes=count, surgery=done)


def _fits(module: nn.Module, sizes: Mapping[str, int], num_classes: int) -> bool:
    """Whether the classifiers are for features of these sizes, and so many classes."""
    found = [module.get_submodule(path).get_parameter("weight").shape for path in sizes]
    return [tuple(shape[:2]) for shape in found] == [(num_classes, size) for size in sizes.values()]


def _refuse_arguments(num_classes: int | None, channels: int, arguments: Mapping[str, Any]) -> None:
    if num_classes is not None and num_classes < 1:
        raise ModelError(f"A network needs at least one class. Found: num_classes={num_classes}.")
    if channels < 1:
        raise ModelError(f"A network needs at least one input channel. Found: channels={channels}.")
    try:
        json.dumps(dict(arguments))
    except TypeError as error:
        raise ModelError(
            f"The network's arguments must be plain values, so that it can be saved: {error}. "
            "Give layers by name, e.g. act_layer='gelu'."
        ) from error


def _refuse_changed_folder(name: str) -> None:
    """A folder of ours whose structure timm's ``config.json`` can't hold is no network's name."""
    ours = Path(name.removeprefix("local-dir:")) / _OURS_FILE
    if not name.startswith(SOURCES[0]) or not ours.is_file():
        return
    try:
        facts = json.loads(ours.read_text(encoding="utf-8"))
        changed = facts.get("surgery") or facts.get("head", "linear") != "linear"
        changed = changed or facts.get("head_dropout")
    except (OSError, ValueError, AttributeError) as error:
        raise RunError(f"{ours} can't be read ({error}). Restore it from a copy.") from error
    if changed:
        raise ModelError(
            f"The network in {name} was changed (surgery or head), so its name alone doesn't make "
            "it. Load it with bowerbird.load_network, or repeat the settings on the original."
        )


def _described(ours: Mapping[str, Any]) -> tuple[Network, tuple[str, ...]]:
    """The network of a ``bowerbird.json``, without its weights, and the class names."""
    classes = tuple(ours["classes"])
    if len(classes) != ours["num_classes"]:
        raise ValueError(f"{len(classes)} class names, {ours['num_classes']} scores")
    source = Weights(**{k: ours["weights"][k] for k in ("kind", "origin", "licence")})
    preprocess = Preprocess.model_validate(ours["preprocess"])
    channels, arguments = ours.get("channels", 3), ours["arguments"]
    facts = (ours["name"], ours["num_classes"], "none", True, None, channels, arguments)
    surgery, head = tuple(ours.get("surgery", ())), ours.get("head", "linear")
    dropout = ours.get("head_dropout", 0.0)
    network = _created(facts, surgery, head, dropout, preprocess=preprocess)
    return dataclasses.replace(network, weights=source), classes


def _timm_config(network: Network, classes: tuple[str, ...]) -> dict[str, Any]:
    pre = network.preprocess.model_dump(mode="json")
    shape = [network.channels, *pre.pop("input_size")]
    first = getattr(network.module, "pretrained_cfg", None) or {}
    adapted = network.channels != _COLOURS  # else timm would adapt the filters once more
    names = classifier_names(network.module)
    return {
        "architecture": network.name.split(".")[0],
        "num_classes": network.num_classes,
        "num_features": getattr(network.module, "num_features", None),
        "model_args": dict(network.arguments) | ({"in_chans": network.channels} if adapted else {}),
        "label_names": list(classes),
        "pretrained_cfg": {
            **pre,
            "input_size": shape,
            "num_classes": network.num_classes,
            "first_conv": None if adapted else first.get("first_conv"),
            "classifier": names[0] if len(names) == 1 else list(names),
            "license": network.weights.licence,
        },
    }
