"""Where a network can be cut into a prefix and a suffix, found from its own graph.

The network is traced with torch.fx; a node after which exactly one value is
alive is a place to cut: what runs up to it is the prefix, the rest the suffix,
and their composition is the network. Freezing, cached features and later
explanation all rest on this; there is no table of names.

Decisions:
- Values that don't depend on the input (parameters, tables computed from them)
  are not counted as alive: the suffix computes them again.
- Sizes, and what is computed from them alone, are not counted either where stages would
  be lost by them and they are known.
- A value that is a tuple is no place to cut.
- A part holds what its own steps use, and nothing else of the network.
- Prefix and suffix share parameters with the network they come from.

It does not run anything but the trace, and never changes the network. How the trace is
made is in `tracing`, what a stage is in `stages`.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Collection, Set
from typing import Any

from torch import fx, nn

from bowerbird.errors import ModelError
from bowerbird.models.folding import fold_batch_norm
from bowerbird.models.sizes import Sizes, following, known_sizes, of_shape, put, read_off
from bowerbird.models.stages import (
    Stage,
    classifier_name,
    classifier_names,
    count_stages,
    find_stages,
)
from bowerbird.models.tracing import record, take_mode

__all__ = [
    "INPUT",
    "Stage",
    "Traced",
    "classifier_name",
    "classifier_names",
    "fold_batch_norm",
    "trace",
]

INPUT = "input"
"""The cut before everything: an empty prefix, and the whole network as suffix."""


@dataclasses.dataclass(frozen=True)
class Traced:
    """A network's graph with its places to cut.

    Attributes:
        graph: the traced module; shares parameters with the network.
        paths: node name to module path, e.g. ``"layer1_0_add"`` to ``"layer1.0.add"``.
        cuts: node names after which one value is alive, in order.
        stages: in order; the last one is the classifier.
        sizes: what is known of sizes; nothing where it isn't needed.
    """

    graph: fx.GraphModule
    paths: dict[str, str]
    cuts: tuple[str, ...]
    stages: tuple[Stage, ...]
    sizes: Sizes = dataclasses.field(default_factory=Sizes)

    def split(self, cut: str) -> tuple[nn.Module, fx.GraphModule]:
        """Prefix (input to the value at `cut`) and suffix (that value to the output)."""
        return self.prefix(cut), self.suffix(cut)

    def prefix(self, cut: str) -> nn.Module:
        """The part from the input to the value at `cut`."""
        return nn.Identity() if cut == INPUT else _prefix(self.graph, self._node(cut))

    def suffix(self, cut: str) -> fx.GraphModule:
        """The part from the value at `cut` to the output."""
        return self.graph if cut == INPUT else _suffix(self.graph, self._node(cut), self.sizes)

    def before_classifier(self) -> str:
        """The cut whose value the last stage, the classifier, takes in."""
        return self.stages[-2].cut

    def __repr__(self) -> str:
        names = [stage.name for stage in self.stages]
        return f"Traced({len(self.cuts)} cuts, {len(names)} stages: {' '.join(names)})"

    def _node(self, cut: str) -> fx.Node:
        node: fx.Node
        for node in self.graph.graph.nodes:
            if node.name == cut and cut in self.cuts:
                return node
        raise ModelError(f"The network has no place to cut called {cut!r}.")


def trace(module: nn.Module) -> Traced:
    """Trace a network in its present mode and find its cuts and stages.

    Raises:
        ModelError: torch.fx can't trace it, or it can't be cut before its classifier.
    """
    graph, paths = record(module)
    nodes = read_off(graph.graph)
    cuts, more = _cuts(graph.graph, set()), _cuts(graph.graph, nodes)
    sizes = Sizes()
    if count_stages(module, graph, more) > count_stages(module, graph, cuts):
        sizes = known_sizes(module, graph)
        known = _cuts(graph.graph, _named(graph.graph, sizes.numbers))
        cuts = tuple(cut for cut in known if cut in sizes.shapes) or cuts
    return Traced(graph, paths, cuts, find_stages(module, graph, cuts), sizes)


def _named(graph: fx.Graph, names: Collection[str]) -> set[fx.Node]:
    return {node for node in graph.nodes if node.name in names}


def _depends_on_input(graph: fx.Graph) -> set[fx.Node]:
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or any(n in found for n in node.all_input_nodes):
            found.add(node)
    return found


def _varying(graph: fx.Graph, known: Set[fx.Node]) -> set[fx.Node]:
    """Nodes that depend on the input, and not through known sizes alone."""
    found = _depends_on_input(graph)
    return found - following(graph, known, found)


def _cuts(graph: fx.Graph, known: Set[fx.Node]) -> tuple[str, ...]:
    """Nodes after which one value is alive, what follows from `known` sizes not counted."""
    varying = _varying(graph, known)
    waiting: dict[fx.Node, int] = {}
    found: list[str] = []
    for node in graph.nodes:
        for source in node.all_input_nodes:
            if source in waiting:
                waiting[source] -= 1
                if waiting[source] == 0:
                    del waiting[source]
        if node in varying and node.op != "output" and node.users:
            waiting[node] = len(node.users)
        if list(waiting) == [node] and node.op != "placeholder" and not _several(node):
            found.append(node.name)
    return tuple(found)


def _several(node: fx.Node) -> bool:
    """Whether a value is a tuple (of the parts of a tensor, of sizes): all is taken by number."""
    return all(
        user.op == "call_function"
        and user.target is operator.getitem
        and isinstance(user.args[1], int)
        for user in node.users
    )


def _prefix(graph: fx.GraphModule, node: fx.Node) -> fx.GraphModule:
    new = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for old in graph.graph.nodes:
        copies[old] = new.node_copy(old, lambda n: copies[n])
        if old is node:
            break
    new.output(copies[node])
    return _assembled(graph, new)


def _suffix(graph: fx.GraphModule, node: fx.Node, sizes: Sizes) -> fx.GraphModule:
    varying = _varying(graph.graph, _named(graph.graph, sizes.numbers))
    new = fx.Graph()
    value = new.placeholder("activation")
    if sizes.numbers:
        value = new.call_function(of_shape, (value, sizes.shapes[node.name]))
    copies: dict[fx.Node, Any] = {node: value}

    def copied(old: fx.Node) -> Any:
        if old not in copies and old.name in sizes.numbers:
            copies[old] = put(new, value, sizes.numbers[old.name])
        elif old not in copies:
            copies[old] = new.node_copy(old, copied)
        return copies[old]

    nodes = list(graph.graph.nodes)
    for old in nodes[nodes.index(node) + 1 :]:
        if old in varying or old.op == "output":
            copied(old)
    return _assembled(graph, new)


def _assembled(owner: fx.GraphModule, graph: fx.Graph) -> fx.GraphModule:
    graph.lint()
    kept = _depends_on_input(graph)  # even if unused: it may change its input in place
    kept.update(node for node in graph.nodes if node.op == "output")
    graph.eliminate_dead_code(is_impure_node=kept.__contains__)
    part = fx.GraphModule(owner, graph)
    take_mode(part, owner)
    return part
