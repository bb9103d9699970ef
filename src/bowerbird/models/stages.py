"""A network's stages and its classifier, found in its own order: no table of names.

Decisions:
- The units are the network's parts as a person would name them: its children; where one
  child holds most of the layers or is a mere list, and no sibling is built like it, that
  child's children (``blocks.0``, ``features.denseblock4``); and the parts beside a
  classifier.
- A stage ends at the last cut before the next unit's first weight. Units between which the
  network can't be cut are one stage, which has the last one's name.
- Values without weights of their own (pooling, normalisation) belong to the unit before.
- A network may have several classifiers (distilled ones have two); they are one stage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from torch import fx, nn

from bowerbird.errors import ModelError
from bowerbird.models.heads import Head

__all__ = [
    "HEAD",
    "Stage",
    "classifier_name",
    "classifier_names",
    "find_stages",
    "weighty",
    "within",
]

HEAD = "head"
"""What a person may call the classifier of any network."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A consecutive part of the network that ends where it can be cut.

    Attributes:
        name: the module it ends with, e.g. ``"layer4"``.
        cut: name of the graph node at its end.
        modules: paths of the layers and parameters that are used between the cut before it
            and its own.
    """

    name: str
    cut: str
    modules: tuple[str, ...] = ()

    def holds(self, parameter: str) -> bool:
        """Whether the parameter of this name belongs to the stage."""
        return any(within(parameter, module) for module in self.modules)


def classifier_names(module: nn.Module) -> tuple[str, ...]:
    """Paths of the layers that turn features into one score per class; most networks have one.

    Our own `Head` where there is one, else timm's own word for it
    (``pretrained_cfg["classifier"]``), else the last linear layer (or 1 × 1 convolution) in
    definition order.

    Raises:
        ModelError: the network has none.
    """
    heads = [name for name, part in module.named_modules() if isinstance(part, Head)]
    known = (getattr(module, "pretrained_cfg", None) or {}).get("classifier")
    named = [known] if isinstance(known, str) else list(known or ())
    present = [str(name) for name in named if _get(module, str(name)) is not None]
    if heads:
        return tuple(heads)
    if present:
        return tuple(_innermost(module, name) for name in present)
    last: list[str] = [n for n, m in module.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    if not last:
        raise ModelError(f"{type(module).__name__} has no linear layer to use as classifier.")
    return (last[-1],)


def classifier_name(module: nn.Module) -> str:
    """Path of the first of `classifier_names`.

    Raises:
        ModelError: the network has none.
    """
    return classifier_names(module)[0]


def find_stages(module: nn.Module, graph: fx.GraphModule, cuts: Sequence[str]) -> tuple[Stage, ...]:
    """Stages in order; the last one holds the classifier or classifiers.

    Args:
        module: the network.
        graph: its trace.
        cuts: nodes where it can be cut, in order.

    Raises:
        ModelError: it can't be cut before its classifier.
    """
    classifiers, units = classifier_names(module), _all_units(module)
    stages = _grouped(module, graph, cuts)
    if not stages or _weights_after(graph, stages[-1].cut, units):
        raise ModelError(
            f"The network can't be cut before its classifier {classifiers[0]!r}: more than one "
            "value goes into it, or it has several classifiers in different places. Choose "
            "another network."
        )
    return _with_modules(graph.graph, [*stages, Stage(classifiers[0], cuts[-1])])


def count_stages(module: nn.Module, graph: fx.GraphModule, cuts: Sequence[str]) -> int:
    """How many stages there would be with these cuts, the classifier not counted."""
    return len(_grouped(module, graph, cuts))


def weighty(graph: fx.GraphModule, node: fx.Node) -> str | None:
    """Path of the layer, or of the weight, that a node computes with; None where it has none.

    Weights have more than one dimension: biases and normalisation don't count.
    """
    target = str(node.target)
    if node.op == "get_attr":
        value: Any = graph
        for part in target.split("."):
            value = getattr(value, part)
        return target if isinstance(value, nn.Parameter) and value.ndim > 1 else None
    used = node.op == "call_module" and _weights(graph.get_submodule(target))
    return target if used else None


def within(path: str, module: str) -> bool:
    """Whether a path is that of the module, or of something in it."""
    return path == module or path.startswith(module + ".")


def _innermost(module: nn.Module, name: str) -> str:
    layer = _get(module, name)
    if isinstance(layer, nn.Sequential):  # something was put around it
        return f"{name}.{classifier_name(layer)}"
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        raise ModelError(f"The network has no classifier at {name!r}: give --num-classes.")
    return name


def _all_units(module: nn.Module) -> list[str]:
    classifiers = classifier_names(module)
    heads = sum(_weights(module.get_submodule(name)) for name in classifiers)
    layers = sum(_weights(child) for child in module.children()) - heads
    return list(_units(module, "", classifiers, layers))


def _units(module: nn.Module, path: str, classifiers: Sequence[str], total: int) -> Iterator[str]:
    """Paths of parts that don't hold one another."""
    children = {f"{path}.{n}".removeprefix("."): child for n, child in module.named_children()}
    around = {name for name in children if any(within(c, name) for c in classifiers)}
    for name, child in children.items():
        others = [other for n, other in children.items() if n != name and n not in around]
        if name in classifiers:
            continue
        if name in around or _several(name, child, others, total):
            yield from _units(child, name, classifiers, total)
        else:
            yield name


def _several(name: str, child: nn.Module, others: Sequence[nn.Module], total: int) -> bool:
    """Whether a child is not a part, but several."""
    if not list(child.children()) or any(_alike(child, other) for other in others):
        return False
    return name == HEAD or isinstance(child, nn.ModuleList) or 2 * _weights(child) > total


def _alike(one: nn.Module, other: nn.Module) -> bool:
    """Whether two parts are built alike: of the same type, or of the same types of parts."""
    parts = [{type(p) for p in m.children() if _composed(p)} for m in (one, other)]
    return (type(one) is type(other) and _composed(one)) or bool(parts[0] & parts[1])


def _composed(module: nn.Module) -> bool:
    """Whether a part has parts with weights, and is not a mere list of them."""
    return type(module) not in (nn.Sequential, nn.ModuleList) and any(
        _weights(part) for part in module.children()
    )


def _weights(module: nn.Module) -> int:
    return sum(parameter.ndim > 1 for parameter in module.parameters())


def _grouped(module: nn.Module, graph: fx.GraphModule, cuts: Sequence[str]) -> list[Stage]:
    """The stages before the classifiers."""
    classifiers, units, places = classifier_names(module), _all_units(module), set(cuts)
    stages: list[Stage] = []
    owner: str | None = None
    for node in graph.graph.nodes:
        path = weighty(graph, node) or ""
        if any(within(path, name) for name in classifiers):
            break
        owner = next((unit for unit in units if within(path, unit)), owner)
        if owner is None or node.name not in places:
            continue
        names = [stage.name for stage in stages]
        if owner in names:  # a later end, or what follows is woven into it
            del stages[names.index(owner) :]
        stages.append(Stage(owner, node.name))
    return stages


def _weights_after(graph: fx.GraphModule, cut: str, units: Sequence[str]) -> bool:
    """Whether layers other than the classifiers run after the cut."""
    nodes = list(graph.graph.nodes)
    after = nodes[[node.name for node in nodes].index(cut) + 1 :]
    paths = [weighty(graph, node) or "" for node in after]
    return any(within(path, unit) for path in paths for unit in units)


def _with_modules(graph: fx.Graph, stages: list[Stage]) -> tuple[Stage, ...]:
    used: list[dict[str, None]] = [{} for _ in stages]
    current = 0
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            used[current][str(node.target)] = None
        if node.name == stages[current].cut and current < len(stages) - 1:
            current += 1
    parts = zip(stages, used, strict=True)
    return tuple(dataclasses.replace(stage, modules=tuple(paths)) for stage, paths in parts)


def _get(module: nn.Module, path: str) -> nn.Module | None:
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None
