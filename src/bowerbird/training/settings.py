"""What is refused before any work: settings that a network can't follow."""

from __future__ import annotations

from torch import fx, nn

from bowerbird.config import TrainConfig
from bowerbird.errors import ConfigError, ModelError
from bowerbird.models import heads, outputs
from bowerbird.models.cuts import Traced, classifier_names, trace
from bowerbird.models.networks import Network
from bowerbird.training.optim import check_optimizer
from bowerbird.training.release import asked_start, asked_steps

__all__ = ["check_settings", "starts_from_probe"]


def check_settings(network: Network, config: TrainConfig) -> None:
    """Refuse, before any work, what the network can't do.

    Raises:
        ConfigError: layers are named that aren't there, steps come after the last epoch, the
            head can't be learnt that way, or nothing would be left to train.
        ModelError: the network can't be cut before its classifier, or ends in a softmax.
    """
    check_optimizer(config.optimizer)
    traced = trace(network.module)
    _check_head(network, traced, config)
    _check_layers(network, traced, config)
    if not config.allow_double_softmax:
        ending = outputs.ends_in(network)
        if ending is not None:
            raise ModelError(outputs.refusal(ending))


def starts_from_probe(network: Network, config: TrainConfig, traced: Traced | None = None) -> bool:
    """Whether the classifier is learnt by a probe first; `traced` saves tracing the network."""
    if config.head_start is not None:
        return config.head_start == "probe"
    if config.method == "plain":
        return False
    return _one_linear_layer(network, traced or trace(network.module))


def _check_head(network: Network, traced: Traced, config: TrainConfig) -> None:
    linear = _one_linear_layer(network, traced)
    if config.head_start == "probe" and not linear:
        raise ConfigError(
            "head_start: a probe learns a linear classifier, and this network's head is another. "
            "Leave it out, or set head to linear."
        )
    if config.method == "probe" and not starts_from_probe(network, config, traced):
        raise ConfigError(
            "The method probe learns a linear classifier by itself: it needs a linear head, and no "
            "random start. For other heads use --method finetune."
        )


def _check_layers(network: Network, traced: Traced, config: TrainConfig) -> None:
    chosen = config.freeze_until or config.freeze or config.method == "gradual"
    if chosen and network.weights.kind == "none":
        raise ConfigError(
            "Without pretrained weights frozen layers would stay random. Leave out freeze, "
            "freeze_until and the method gradual, or give weights."
        )
    asked_start(traced, network.module, config)
    if config.unfreeze:
        last = max(config.unfreeze_steps)
        asked_steps(traced, network.module, config, config.epochs or last + 1)


def _one_linear_layer(network: Network, traced: Traced) -> bool:
    """Whether features go through one linear layer and nothing else that changes them."""
    names = classifier_names(network.module)
    if len(names) > 1 or not heads.is_linear(network.module):
        return False
    suffix = traced.suffix(traced.before_classifier())
    return all(_harmless(suffix, node, names[0]) for node in suffix.graph.nodes)


def _harmless(suffix: fx.GraphModule, node: fx.Node, classifier: str) -> bool:
    target = str(node.target)
    if node.op == "call_module" and target != classifier:
        inside = target.startswith(classifier + ".")
        passing = (nn.Dropout, nn.Identity, nn.Flatten)
        return inside or isinstance(suffix.get_submodule(target), passing)
    if node.op in ("call_function", "call_method"):
        name = getattr(node.target, "__name__", target)
        return name in ("linear", "flatten", "dropout", "view", "reshape", "squeeze")
    return True
