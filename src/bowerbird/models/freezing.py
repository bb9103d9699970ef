"""Which parameters stay as they are, and what may therefore be computed once.

Three ways to say it:

- *until a name*: all that is defined before it, in the order of ``named_parameters()``, as
  training scripts do that loop over the parameters and break at a name;
- *a share* (``0.8``): the first 80 % of the layers with weights, counted in the order in
  which they run, with all that runs between them; at most the share;
- *names and patterns* of modules or parameters (``conv1,layer1.*``), ``backbone`` being
  everything but the classifier.

Decisions:
- A parameter with several names (tied weights) is frozen only if all of them are.
- The definition order is not always the running order, so the cut is found from the graph:
  the latest one before which no trainable parameter is used.
- ``head`` is the classifier in every network, whatever its module is called; any other
  stage has the name of a module, and is meant as that module.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from torch import fx, nn

from bowerbird.errors import ConfigError
from bowerbird.models.cuts import INPUT, Traced, classifier_names
from bowerbird.models.stages import HEAD, weighty, within

__all__ = ["Freezing", "freezing", "stage_order"]

BACKBONE = "backbone"


@dataclasses.dataclass(frozen=True)
class Freezing:
    """Which parameters of a network learn.

    Attributes:
        frozen: names of the parameters that stay, tied ones with all their names.
        trainable: names of the parameters that learn, in the order they are defined.
        parameters: number of parameters in all.
        parameters_trainable: number of those that learn.
        cut: the latest cut before which no trainable parameter is used; what runs up to it
            may be computed once.
    """

    frozen: frozenset[str]
    trainable: tuple[str, ...]
    parameters: int
    parameters_trainable: int
    cut: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self) | {"frozen": sorted(self.frozen)}

    def __repr__(self) -> str:
        return (
            f"Freezing({self.parameters_trainable:,} of {self.parameters:,} parameters learn, "
            f"from {self.cut} on)"
        )


def freezing(
    traced: Traced,
    module: nn.Module,
    *,
    freeze: str | None = None,
    freeze_until: str | None = None,
    setting: str = "freeze_until",
) -> Freezing:
    """Which parameters the settings freeze.

    Args:
        traced: the network's trace.
        module: the network; it is not changed.
        freeze: ``"backbone"``, a share of the layers (``"0.8"``), or names and patterns,
            separated by commas, of stages, modules or parameters.
        freeze_until: a stage, module or parameter, with or without ``.weight``; what is
            defined before it is frozen.
        setting: what a person called `freeze_until`, for errors.

    Raises:
        ConfigError: both are given, a name is unknown (the message names the nearest), or
            nothing would be left to train.
    """
    if freeze is not None and freeze_until is not None:
        raise ConfigError("freeze and freeze_until can't both be set.")
    aliases = _aliases(module)
    if freeze_until is not None:
        chosen = _before(traced, module, freeze_until, setting)
    elif freeze is not None:
        chosen = _chosen(traced, module, freeze)
    else:
        chosen = set()
    frozen = frozenset(n for names in aliases if chosen.issuperset(names) for n in names)
    found = _freezing(traced, module, frozen)
    if not _used(traced.graph, found.trainable):
        words = f"freeze {freeze}" if freeze is not None else f"{setting} {freeze_until}"
        raise ConfigError(
            f"{words} leaves nothing to train. Freeze less: backbone leaves the classifier."
        )
    return found


def stage_order(traced: Traced) -> tuple[str, ...]:
    """Names of the stages from the head backwards, as gradual unfreezing releases them.

    The classifier is called ``"head"``.
    """
    return (HEAD, *(stage.name for stage in reversed(traced.stages[:-1])))


def _freezing(traced: Traced, module: nn.Module, frozen: frozenset[str]) -> Freezing:
    sizes = {name: p.numel() for name, p in module.named_parameters()}
    trainable = tuple(name for name in sizes if name not in frozen)
    learned = sum(sizes[name] for name in trainable)
    names = {n for n, _ in module.named_parameters(remove_duplicate=False)} - frozen
    return Freezing(frozen, trainable, sum(sizes.values()), learned, _last_cut(traced, names))


def _aliases(module: nn.Module) -> list[tuple[str, ...]]:
    """All names of each parameter."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [tuple(found) for found in names.values()]


def _before(traced: Traced, module: nn.Module, name: str, setting: str) -> set[str]:
    """Parameters that are defined before a name."""
    if name == HEAD:
        return _backbone(module)
    order = [n for n, _ in module.named_parameters(remove_duplicate=False)]
    for place, parameter in enumerate(order):
        if within(parameter, name):
            return set(order[:place])
    raise _unknown(traced, module, setting, name)


def _chosen(traced: Traced, module: nn.Module, text: str) -> set[str]:
    """Parameters that a share, or names and patterns, stand for."""
    share = _number(text)
    if share is not None:
        return _share(traced, module, share)
    words = [word.strip() for word in text.strip(", ").split(",")]
    return {name for word in words for name in _matching(traced, module, word)}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _share(traced: Traced, module: nn.Module, share: float) -> set[str]:
    """Parameters that run before the first layer that isn't in the share."""
    if not 0 <= share < 1:
        raise ConfigError(
            f"freeze: a share of the layers is from 0 to below 1, e.g. 0.8. Found: {share:g}. "
            "To freeze all but the classifier, write backbone."
        )
    nodes = list(traced.graph.graph.nodes)
    layers = list(dict.fromkeys(filter(None, (_layer(traced.graph, node) for node in nodes))))
    first = layers[int(share * len(layers) + 1e-9)]
    place = next(i for i, node in enumerate(nodes) if _layer(traced.graph, node) == first)
    later = {name for node in nodes[place:] for name in _parameters(module, node)}
    return {name for name, _ in module.named_parameters(remove_duplicate=False)} - later


def _layer(graph: fx.GraphModule, node: fx.Node) -> str | None:
    """The layer whose weights a node uses; a network's own tokens and positions are none."""
    path = weighty(graph, node)
    if path is None or node.op == "call_module":
        return path
    return path.rpartition(".")[0] or None


def _matching(traced: Traced, module: nn.Module, word: str) -> set[str]:
    """Parameters that a name or pattern stands for."""
    if word == BACKBONE:
        return _backbone(module)
    if word == HEAD:
        return {n for n, _ in module.named_parameters(remove_duplicate=False)} - _backbone(module)
    found = {
        name
        for name, _ in module.named_parameters(remove_duplicate=False)
        if any(fnmatch.fnmatchcase(path, word) for path in _around(name))
    }
    if not found:
        raise _unknown(traced, module, "freeze", word)
    return found


def _backbone(module: nn.Module) -> set[str]:
    classifiers = classifier_names(module)
    names = (name for name, _ in module.named_parameters(remove_duplicate=False))
    return {name for name in names if not any(within(name, head) for head in classifiers)}


def _last_cut(traced: Traced, trainable: Collection[str]) -> str:
    """The latest cut before which none of these parameters is used."""
    cut, cuts = INPUT, set(traced.cuts)
    learnt: set[fx.Node] = set()
    varying: set[fx.Node] = set()
    for node in traced.graph.graph.nodes:
        inputs = node.all_input_nodes
        if node.op == "placeholder" or varying.intersection(inputs):
            varying.add(node)
        if _learns(traced.graph, node, trainable) or learnt.intersection(inputs):
            learnt.add(node)
        if node in varying and node in learnt:
            return cut
        cut = node.name if node.name in cuts else cut
    return cut


def _learns(graph: fx.GraphModule, node: fx.Node, trainable: Collection[str]) -> bool:
    return any(name in trainable for name in _parameters(graph, node))


def _parameters(module: nn.Module, node: fx.Node) -> list[str]:
    """Names of the parameters that a node uses."""
    target = str(node.target)
    if node.op == "get_attr":
        return [target]
    if node.op != "call_module":
        return []
    layer = module.get_submodule(target)
    return [f"{target}.{n}" for n, _ in layer.named_parameters(remove_duplicate=False)]


def _used(graph: fx.GraphModule, names: Iterable[str]) -> bool:
    wanted = set(names)
    return any(_learns(graph, node, wanted) for node in graph.graph.nodes)


def _unknown(traced: Traced, module: nn.Module, setting: str, word: str) -> ConfigError:
    names = {n: None for name, _ in module.named_parameters() for n in _around(name)}
    return ConfigError(
        f"{setting}: the network has no stage, module or parameter {word!r} with weights. "
        f"{_hint(traced, word, names)}"
    )


def _hint(traced: Traced, word: str, names: Iterable[str]) -> str:
    """The nearest names, or those of the stages where none is near."""
    known: Sequence[str] = stage_order(traced)
    close = difflib.get_close_matches(word, dict.fromkeys([*known, *names]), n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"Stages, from the head backwards: {', '.join(known)}."


def _around(path: str) -> Iterator[str]:
    """A path and those of the modules around it."""
    while path:
        yield path
        path = path.rpartition(".")[0]
