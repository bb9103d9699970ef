"""The graph of what a network does with an image, with the place of every step.

torch.fx runs the network's own code on stand-ins and writes down each operation.

Decisions:
- A step is named after the module it happens in (``layer1_0_add``), so it has the same
  name in training and in evaluation mode, though other steps (dropped paths) come or go.
- timm's own list of modules and functions that must not be traced into is used. A `Head` is
  one step, so its dropout is on its side of a cut before it.
- Inputs after the image keep their defaults, and branches on them are taken so.

It runs nothing but the trace, and never changes the network.
"""

from __future__ import annotations

import inspect
import threading
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from bowerbird.errors import ModelError
from bowerbird.models.heads import Head

__all__ = ["record", "take_mode"]


def record(module: nn.Module) -> tuple[fx.GraphModule, dict[str, str]]:
    """Trace a network in its present mode.

    Returns:
        The traced module, which shares its parameters with the network, and each step's
        name with its path, e.g. ``"layer1_0_add"`` and ``"layer1.0.add"``.

    Raises:
        ModelError: torch.fx can't trace it, or it takes more than an image.
    """
    tracer = _Tracer()
    try:
        with _tracing, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = tracer.trace(module, concrete_args=_optional_inputs(module))
    except Exception as error:  # tracing runs the network's own code on proxies
        raise ModelError(
            f"{type(module).__name__} can't be traced, so it can't be cut into frozen and "
            f"trained parts: {error}. Use a network whose forward pass has no data-dependent "
            "branches."
        ) from error
    _keep_first_input(module, graph)
    traced = fx.GraphModule(module, graph, type(module).__name__)
    take_mode(traced, module)
    return traced, {node.name: tracer.paths.get(node.name, node.name) for node in graph.nodes}


def take_mode(part: fx.GraphModule, owner: nn.Module) -> None:
    """Training or evaluation mode of the wrappers only: the layers are shared."""
    shared = set(owner.modules())
    for module in part.modules():
        if module not in shared:
            module.training = owner.training


_tracing = threading.Lock()


class _Tracer(fx.Tracer):
    """Names steps by their place, and leaves other threads alone.

    torch.fx patches all modules of the process to listen in.
    """

    def __init__(self) -> None:
        from timm.models import get_notrace_functions, get_notrace_modules

        super().__init__(autowrap_functions=tuple(get_notrace_functions()))
        self.paths: dict[str, str] = {}
        self._leaves = (Head, *get_notrace_modules())
        self._inside = ""
        self._seen: Counter[str] = Counter()
        self._thread = threading.get_ident()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._leaves) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        outside, self._inside = self._inside, self.path_of_module(m)
        try:
            return super().call_module(m, forward, args, kwargs)
        finally:
            self._inside = outside

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_node(
        self,
        kind: str,
        target: Any,
        args: Any,
        kwargs: Any,
        name: str | None = None,
        type_expr: Any = None,
    ) -> fx.Node:
        path = self._path(kind, target)
        named = path.replace(".", "_")  # also where torch.fx has a name, which it would number
        node = super().create_node(kind, target, args, kwargs, named, type_expr)
        self.paths[node.name] = path
        return node

    def _path(self, kind: str, target: Any) -> str:
        """Of a module or parameter its own; of a function its name in the module around it."""
        path = target if isinstance(target, str) else target.__name__
        if kind in ("call_function", "call_method"):
            path = f"{self._inside}.{path.strip('_')}".removeprefix(".")
        self._seen[path] += 1
        earlier = self._seen[path] - 1
        return f"{path}_{earlier}" if earlier else path


def _optional_inputs(module: nn.Module) -> dict[str, Any]:
    """Arguments of `forward` after the image, at their defaults: branches on them are taken so."""
    _, *others = inspect.signature(module.forward).parameters.values()
    return {p.name: p.default for p in others if p.default is not inspect.Parameter.empty}


def _keep_first_input(module: nn.Module, graph: fx.Graph) -> None:
    """Drop the optional inputs with torch.fx's checks that they have their defaults."""
    _, *others = [node for node in graph.nodes if node.op == "placeholder"]
    optional = _optional_inputs(module)
    for node in others:
        fixed = str(node.target).rpartition("_")[0] in optional
        if node.users and not fixed:
            raise ModelError(
                f"{type(module).__name__} takes more than one input ({node.target}), so it can't "
                "be cut. Use a network that takes an image alone."
            )
        _erase_with_users(graph, node)


def _erase_with_users(graph: fx.Graph, node: fx.Node) -> None:
    for user in list(node.users):
        _erase_with_users(graph, user)
    graph.erase_node(node)
