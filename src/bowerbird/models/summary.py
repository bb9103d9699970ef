"""What a network is made of: layers, output shapes, parameters, multiply-adds, memory.

Decisions:
- Sizes in MB are those of the torchsummary package, which studies quote: 4 bytes a
  number, MB of 2²⁰ bytes, one image; forward and backward is twice what all layers and
  blocks give out. Like there, a layer that runs three times counts three times, and a
  block beside its layers. Unlike there, what only hands on its input (``Identity``,
  ``Flatten``) doesn't count, and neither do wrappers without weights.
- ResNets from 50 layers on come out above the multiply-adds of He et al. 2016
  (arXiv:1512.03385): the libraries put a bottleneck's stride into its 3 × 3 convolution,
  the paper into the first 1 × 1.
- To summarise a network by name, it is made without values, which takes no time to draw.

How a network is watched while it runs is in `passes`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from bowerbird.config import NetworkConfig
from bowerbird.errors import ModelError
from bowerbird.models.columns import aligned
from bowerbird.models.cuts import classifier_names, trace
from bowerbird.models.freezing import freezing
from bowerbird.models.networks import Network, from_config
from bowerbird.models.passes import Call, watched

__all__ = ["ModelSummary", "Row", "summarise", "summary_of", "without_weights"]

_HANDING_ON = (nn.Identity, nn.Flatten, nn.Unflatten)
_TITLES = ("layer", "kind", "output", "parameters", "trainable", "multiply-adds")


@dataclasses.dataclass(frozen=True)
class Row:
    """One run of a layer or block, or a parameter that belongs to none.

    Attributes:
        path: of the module or parameter, e.g. ``"layer4.0.conv1"``.
        kind: type of the module, e.g. ``"Conv2d"``.
        shape: of what it gives for one image; empty if it didn't run.
        parameters: its own, at its first run; those of rows inside it are not among them.
        trainable: those that learn.
        multiply_adds: its own.
        counted: whether its output takes memory of its own.
    """

    path: str
    kind: str
    shape: tuple[int, ...] = ()
    parameters: int = 0
    trainable: int = 0
    multiply_adds: int = 0
    counted: bool = False


@dataclasses.dataclass(frozen=True)
class ModelSummary:
    """What a network is made of; ``table()`` is for people.

    Attributes:
        name: of the network.
        input_size: channels, height and width of an image.
        rows: runs of layers and blocks, in the order in which they end.
        parameters: number of parameters.
        trainable: those that learn.
        multiply_adds: for one image.
    """

    name: str
    input_size: tuple[int, int, int]
    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    multiply_adds: int

    @property
    def input_mb(self) -> float:
        """An image."""
        return _megabytes(math.prod(self.input_size))

    @property
    def passes_mb(self) -> float:
        """What all layers and blocks give out, and its gradient."""
        return _megabytes(2 * sum(math.prod(row.shape) for row in self.rows if row.counted))

    @property
    def parameters_mb(self) -> float:
        """The parameters."""
        return _megabytes(self.parameters)

    @property
    def total_mb(self) -> float:
        """An image, forward and backward, and parameters."""
        return self.input_mb + self.passes_mb + self.parameters_mb

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        sizes = ("input_mb", "passes_mb", "parameters_mb", "total_mb")
        return dataclasses.asdict(self) | {name: getattr(self, name) for name in sizes}

    def __repr__(self) -> str:
        return (
            f"ModelSummary({self.name}, {self.parameters:,} parameters, {self.trainable:,} "
            f"trainable, {self.multiply_adds / 1e9:.2f} × 10⁹ multiply-adds)"
        )

    def table(self, *, tree: bool = False, depth: int | None = None) -> str:
        """Layers and totals as aligned text.

        Args:
            tree: nested, with the sums of every part, instead of a line per layer and run.
            depth: levels of the tree, from 1; by default all.
        """
        if tree or depth is not None:
            lines = [_cells("  " * level, row) for level, row in _nested(self.rows, depth)]
        else:
            lines = [_cells("", row) for row in self.rows if row.counted or row.parameters]
        return "\n".join([*aligned([_TITLES, *lines], words=2), "", *self._totals()])

    def _totals(self) -> list[str]:
        numbers = {
            "parameters": f"{self.parameters:,}",
            "  trainable": f"{self.trainable:,}",
            "  not trainable": f"{self.parameters - self.trainable:,}",
            "multiply-adds": f"{self.multiply_adds:,}",
        }
        sizes = {
            "input": self.input_mb,
            "forward and backward": self.passes_mb,
            "parameters in memory": self.parameters_mb,
            "total": self.total_mb,
        }
        numbers |= {name: f"{size:,.2f} MB" for name, size in sizes.items()}
        return aligned([*numbers.items()], words=1)


def summarise(
    network: Network | nn.Module,
    input_size: tuple[int, int, int] | None = None,
    frozen: Collection[str] = (),
) -> ModelSummary:
    """What a network is made of.

    Args:
        network: a network, or any module that takes an image; it is not changed.
        input_size: channels, height, width; may be left out for a `Network`.
        frozen: names of parameters that don't learn, besides those that need no gradient.

    Raises:
        ModelError: it doesn't run on an image of this size, or no size is given.
    """
    if isinstance(network, Network):
        name, module = network.name, network.module
        input_size = input_size or (network.channels, *network.preprocess.input_size)
    else:
        name, module = type(network).__name__, network
    if input_size is None:
        raise ModelError("Give the input size of a plain module: channels, height, width.")
    parameters = dict(module.named_parameters())
    learning = {n for n, p in parameters.items() if n not in frozen and p.requires_grad}
    calls = watched(module, input_size)
    return ModelSummary(
        name,
        input_size,
        tuple(_rows(calls, parameters, learning)),
        sum(p.numel() for p in parameters.values()),
        sum(parameters[n].numel() for n in learning),
        sum(call.multiply_adds for call in calls),
    )


def summary_of(
    config: NetworkConfig,
    num_classes: int | None = None,
    *,
    freeze: str | None = None,
    freeze_until: str | None = None,
) -> ModelSummary:
    """What the network of these settings is made of; weights are not loaded.

    Args:
        config: the settings.
        num_classes: scores per image; None as many as the weights have, 0 takes the
            classifier away.
        freeze: see `freezing`.
        freeze_until: see `freezing`.

    Raises:
        ModelError: there is no such network, or it doesn't run.
        ConfigError: names to freeze are unknown, or nothing would be left to train.
    """
    network = without_weights(config, num_classes or None)
    module, frozen = network.module, frozenset[str]()
    if freeze is not None or freeze_until is not None:
        frozen = freezing(trace(module), module, freeze=freeze, freeze_until=freeze_until).frozen
    if num_classes == 0:
        for path in classifier_names(module):
            module.set_submodule(path, nn.Identity())
    return summarise(network, frozen=frozen)


def without_weights(config: NetworkConfig, num_classes: int | None) -> Network:
    """The network of these settings; where its constructor can do it, without any values.

    Raises:
        ModelError: there is no such network, or it doesn't take the settings.
    """
    bare = config.model_copy(update={"pretrained": False})
    try:
        with torch.device("meta"):
            return from_config(bare, num_classes, seed=0)
    except (ModelError, RuntimeError):  # a mistake, or a constructor that looks at its values
        return from_config(bare, num_classes, seed=0)


def _rows(
    calls: Sequence[Call], parameters: Mapping[str, nn.Parameter], learning: Collection[str]
) -> Iterator[Row]:
    """First the parameters that belong to no layer that runs, then the runs."""
    own: dict[str, list[str]] = {call.path: [] for call in calls if _counts(call)}
    for name in parameters:
        owner = next((path for path in _around(name) if path in own), name)
        own.setdefault(owner, []).append(name)
    ran = {call.path for call in calls}
    for path in [path for path in own if path not in ran]:
        yield _with(Row(path, "Parameter"), own.pop(path), parameters, learning)
    for call in calls:
        if call.path and not isinstance(call.module, _HANDING_ON):
            row = Row(call.path, type(call.module).__name__, call.shape, counted=_counts(call))
            row = dataclasses.replace(row, multiply_adds=call.multiply_adds)
            yield _with(row, own.pop(call.path, []), parameters, learning)


def _with(
    row: Row,
    names: Collection[str],
    parameters: Mapping[str, nn.Parameter],
    learning: Collection[str],
) -> Row:
    sizes = {name: parameters[name].numel() for name in names}
    learnt = sum(size for name, size in sizes.items() if name in learning)
    return dataclasses.replace(row, parameters=sum(sizes.values()), trainable=learnt)


def _counts(call: Call) -> bool:
    """Whether a module is a layer, or a block with weights."""
    lists = (nn.Sequential, nn.ModuleList, nn.ModuleDict, *_HANDING_ON)
    if not call.path or isinstance(call.module, lists):
        return False
    return not list(call.module.children()) or any(True for _ in call.module.parameters())


def _nested(
    rows: Sequence[Row], depth: int | None, inside: str = "", level: int = 0
) -> Iterator[tuple[int, Row]]:
    """A row for every module with the sums of what is in it, and its level."""
    if level == depth:
        return
    start = f"{inside}." if inside else ""
    within = [row for row in rows if row.path.startswith(start) and row.path != inside]
    names = dict.fromkeys(row.path[len(start) :].partition(".")[0] for row in within)
    for path in (start + name for name in names):
        parts = [row for row in within if row.path == path or row.path.startswith(path + ".")]
        last = next((row for row in reversed(parts) if row.path == path), Row(path, ""))
        sums = {
            key: sum(getattr(row, key) for row in parts)
            for key in ("parameters", "trainable", "multiply_adds")
        }
        yield level, dataclasses.replace(last, **sums)
        yield from _nested(parts, depth, path, level + 1)


def _around(path: str) -> Iterator[str]:
    """A path and those of the modules around it, the nearest first."""
    while path:
        yield path
        path = path.rpartition(".")[0]


def _cells(indent: str, row: Row) -> tuple[str, ...]:
    name = indent + row.path.rpartition(".")[2] if indent else row.path
    shape = " × ".join(map(str, row.shape)) or "-"
    sizes = [f"{n:,}" if row.parameters else "-" for n in (row.parameters, row.trainable)]
    return (name, row.kind, shape, *sizes, f"{row.multiply_adds:,}" if row.multiply_adds else "-")


def _megabytes(numbers: int) -> float:
    return numbers * 4 / 2**20
