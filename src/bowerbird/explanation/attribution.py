"""Where a network looks: `attribute` turns inputs into maps, `Attributor` does so in batches.

Decisions:
- Scores are explained, not probabilities: a probability also rises when other classes fall.
  RISE, which adds answers up, takes probabilities as its authors do.
- The class is the predicted one if none is named. A contrast explains the score of one class
  less that of another.
- So many images at a time that the machine can hold them: the batch is halved where memory
  runs out. Maps don't depend on it.

The formulas are in `maps`, the layer is chosen in `places`, how a network is run and left as
it was is in `capture`. Reading images is not done here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bowerbird.errors import ConfigError, DataError
from bowerbird.explanation import captum_methods
from bowerbird.explanation.capture import evaluating, in_float32, leaf_at, scores_of
from bowerbird.explanation.maps import FORMULAS, Formula
from bowerbird.explanation.places import Place, find_place
from bowerbird.explanation.quick import quickened
from bowerbird.explanation.results import Attribution, joined
from bowerbird.explanation.rise import rise
from bowerbird.models.networks import Network

__all__ = ["METHODS", "Attributor", "attribute", "class_index"]

METHODS = (*FORMULAS, "rise", "integrated-gradients", "occlusion")
"""Ways to explain, the default first."""

_BATCH, _DEVICE_BATCH, _EXAMPLE = 8, 32, 2
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")

_OPTIONS = {
    "rise": ("masks", "cells", "shown"),
    "integrated-gradients": ("steps",),
    "occlusion": ("window", "stride"),
}

Class = int | str | None


class Attributor:
    """A network and a method, ready for inputs; made once for many of them.

    Args:
        network: ours, or any torch module that gives one score per class.
        method: one of `METHODS`.
        layer: path of a module, or a `Place`; by default it is found at the first input.
        classes: names in index order; by default the indices.
        seed: draws RISE's masks.
        **options: of the method (``masks``, ``cells``, ``shown`` of RISE; ``steps``; ``window``,
            ``stride`` of occlusion).

    Raises:
        ConfigError: there is no such method, or it takes no layer or no such option.
        ModelError: the network can't be looked into.
    """

    def __init__(
        self,
        network: Network | nn.Module,
        *,
        method: str = METHODS[0],
        layer: str | Place | None = None,
        classes: Sequence[str] | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        if method not in METHODS:
            raise ConfigError(_no_such("method", method, METHODS))
        if layer is not None and method not in FORMULAS:
            raise ConfigError(f"The method {method} looks at no layer. Leave out --layer {layer}.")
        _refuse_options(method, options)
        given = network.module if isinstance(network, Network) else network
        self.channels = network.channels if isinstance(network, Network) else None
        self.module = in_float32(given) if method in FORMULAS else _readable(given)
        self.method, self.seed, self.options = method, seed, options
        self.classes = tuple(classes) if classes is not None else None
        self.layer = layer if isinstance(layer, str) else None
        self.place = layer if isinstance(layer, Place) else None
        self.device = next((p.device for p in self.module.parameters()), torch.device("cpu"))

    def __call__(
        self,
        inputs: torch.Tensor,
        target: Class | Sequence[Class] = None,
        against: Class | Sequence[Class] = None,
    ) -> Attribution:
        """Maps of inputs [N, C, H, W], normalised as the network wants them.

        Args:
            inputs: at least one.
            target: the class to explain, for all or one each; None is the predicted one.
            against: the class to set it against, likewise; None is none.

        Raises:
            ConfigError: there is no such class.
            DataError: the inputs aren't [N, C, H, W].
            ModelError: the layer doesn't exist or has no height and width.
        """
        targets, rivals = self._ready(inputs, target, against)
        parts, start = [], 0
        batch = _BATCH if self.device.type == "cpu" else _DEVICE_BATCH
        while start < len(inputs):
            end = start + batch
            try:
                part = inputs[start:end].to(self.device, torch.float32)
                parts.append(self._batch(part, targets[start:end], rivals[start:end]))
            except (RuntimeError, MemoryError) as error:
                if batch == 1 or not _out_of_memory(error):
                    raise
                batch //= 2
                continue
            start = end
        return joined(parts)

    def look(
        self, inputs: torch.Tensor, target: Class | Sequence[Class] = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], Attribution]:
        """Values and gradients [N, C, h, w] at the layer, and the maps made of them.

        Args:
            inputs: so few that they fit the memory.
            target: the class whose score the gradients are of; None is the predicted one.

        Raises:
            ConfigError, DataError, ModelError: as for a call.
        """
        targets, rivals = self._ready(inputs, target, None)
        kept: list[torch.Tensor] = []

        def keep(a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
            kept.extend((a, g))
            return FORMULAS[self.method](a, g)

        part = inputs.to(self.device, torch.float32)
        found = self._batch(part, targets, rivals, keep)
        values, gradients = (np.asarray(tensor.cpu().numpy(), np.float32) for tensor in kept)
        return values, gradients, found

    def _ready(
        self,
        inputs: torch.Tensor,
        target: Class | Sequence[Class],
        against: Class | Sequence[Class],
    ) -> tuple[list[Class], list[Class]]:
        """Refuse what is no input, find the layer, and give each input its classes."""
        if inputs.ndim != 4 or len(inputs) == 0:
            raise DataError(
                f"Inputs must be [images, channels, height, width], at least one image. "
                f"Found: {list(inputs.shape)}."
            )
        if self.channels not in (None, inputs.shape[1]):
            raise DataError(
                f"The network takes {self.channels} channels. Found: {list(inputs.shape)}."
            )
        if self.place is None and self.method in FORMULAS:
            first = inputs[:1].to(self.device, torch.float32)
            self.place = find_place(self.module, first, self.layer)
        return _one_each(target, len(inputs)), _one_each(against, len(inputs))

    def _batch(
        self,
        inputs: torch.Tensor,
        targets: Sequence[Class],
        rivals: Sequence[Class],
        formula: Formula | None = None,
    ) -> Attribution:
        formula = formula or FORMULAS.get(self.method)
        with evaluating(self.module):
            if formula is not None:
                found = self._from_layer(inputs, targets, rivals, formula)
            else:
                found = self._from_answers(inputs, targets, rivals)
        maps, scores, chosen, set_against = found
        return Attribution(
            maps.float().cpu().numpy(),
            chosen.cpu().numpy(),
            set_against.cpu().numpy(),
            torch.softmax(scores.detach().float(), 1).cpu().numpy(),
            self._names(scores.shape[1]),
            self.method,
            self.place.name if self.place else None,
            (int(inputs.shape[2]), int(inputs.shape[3])),
        )

    def _from_layer(
        self,
        inputs: torch.Tensor,
        targets: Sequence[Class],
        rivals: Sequence[Class],
        formula: Formula,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """One pass of the trunk, and one of the head forward and backward."""
        place = self.place
        if place is None:
            raise ConfigError(f"The method {self.method} needs a layer.")
        part = self.module.get_submodule(place.name)
        with leaf_at(part, place.call, place.position) as leaf:
            scores = scores_of(self.module, inputs)
            chosen, set_against = self._classes(scores, targets, rivals)
            value, gradient = leaf.gradient(_score(scores, chosen, set_against).sum())
        layout = place.layout
        maps = formula(layout.images(value), layout.images(gradient))
        return maps, scores, chosen, set_against

    def _from_answers(
        self, inputs: torch.Tensor, targets: Sequence[Class], rivals: Sequence[Class]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Many passes of changed inputs; nothing is known of what is inside."""
        scores = scores_of(self.module, inputs)
        chosen, set_against = self._classes(scores, targets, rivals)
        gradient = self.method == "integrated-gradients"
        module = self.module if gradient else quickened(self.module, inputs[:_EXAMPLE])

        def score(copies: torch.Tensor) -> torch.Tensor:
            """Of copies of all inputs in order, or of one input after the other."""
            times = len(copies) // len(inputs)
            again = chosen.repeat(times), set_against.repeat(times)
            return _score(scores_of(module, copies), *again)

        def answer(n: int, copies: torch.Tensor) -> torch.Tensor:
            shares = torch.softmax(scores_of(module, copies).float(), 1)
            return _score(shares, chosen[n].expand(len(copies)), set_against[n].expand(len(copies)))

        if self.method == "rise":
            maps = rise(inputs, answer, seed=self.seed, **self.options)
        elif self.method == "occlusion":
            maps = captum_methods.occlusion(inputs, score, **self.options)
        else:
            maps = captum_methods.integrated_gradients(inputs, score, **self.options)
        return maps, scores, chosen, set_against

    def _classes(
        self, scores: torch.Tensor, targets: Sequence[Class], rivals: Sequence[Class]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        names = self._names(scores.shape[1])
        predicted = scores.argmax(1).tolist()
        chosen = [
            p if t is None else class_index(t, names)
            for p, t in zip(predicted, targets, strict=True)
        ]
        others = [-1 if r is None else class_index(r, names) for r in rivals]
        return torch.tensor(chosen, device=scores.device), torch.tensor(
            others, device=scores.device
        )

    def _names(self, count: int) -> tuple[str, ...]:
        names = tuple(map(str, range(count))) if self.classes is None else self.classes
        if len(names) != count:
            raise ConfigError(f"{len(names)} class names were given for {count} scores.")
        return names


def attribute(
    network: Network | nn.Module,
    inputs: torch.Tensor,
    *,
    method: str = METHODS[0],
    layer: str | Place | None = None,
    target: Class | Sequence[Class] = None,
    against: Class | Sequence[Class] = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    **options: Any,
) -> Attribution:
    """Where a network looks in inputs [N, C, H, W]. See `Attributor` for what is raised.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ...                     nn.Linear(4, 2))
    >>> attribute(net, torch.rand(2, 3, 8, 8), method="eigencam")
    Attribution(2 images, eigencam at 1, 6 × 6 places)
    """
    attributor = Attributor(
        network, method=method, layer=layer, classes=classes, seed=seed, **options
    )
    return attributor(inputs, target, against)


def class_index(wanted: int | str, classes: Sequence[str]) -> int:
    """Index of a class given by name or index.

    Raises:
        ConfigError: there is no such class; the message names the nearest.
    """
    if isinstance(wanted, str) and wanted in classes:
        return list(classes).index(wanted)
    if isinstance(wanted, int | np.integer) and 0 <= wanted < len(classes):
        return int(wanted)
    if isinstance(wanted, str):
        raise ConfigError(_no_such("class", wanted, classes))
    raise ConfigError(f"There is no class {wanted}: indices go from 0 to {len(classes) - 1}.")


def _refuse_options(method: str, options: Mapping[str, Any]) -> None:
    known = _OPTIONS.get(method, ())
    for name, value in options.items():
        if name not in known:
            takes = f"It takes {', '.join(known)}." if known else "It takes none."
            raise ConfigError(f"The method {method} has no option {name!r}. {takes}")
        if not 0 < value < float("inf"):
            raise ConfigError(f"The option {name} must be above 0. Found: {value!r}.")


def _score(scores: torch.Tensor, chosen: torch.Tensor, against: torch.Tensor) -> torch.Tensor:
    """[B] of the chosen classes, less those of the classes they are set against."""
    own = scores.gather(1, chosen[:, None])[:, 0]
    other = scores.gather(1, against.clamp(min=0)[:, None])[:, 0]
    return own - torch.where(against >= 0, other, 0)


def _one_each(value: Class | Sequence[Class], count: int) -> list[Class]:
    if value is None or isinstance(value, str | int | np.integer):
        return [value] * count
    if len(value) != count:
        raise ConfigError(f"{len(value)} classes were given for {count} images: give one, or all.")
    return [v if v is None or isinstance(v, str) else int(v) for v in value]


def _readable(module: nn.Module) -> nn.Module:
    """What answers are asked of: TorchScript is welcome here."""
    return module if isinstance(module, torch.jit.ScriptModule) else in_float32(module)


def _out_of_memory(error: Exception) -> bool:
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(part in words for part in _OUT_OF_MEMORY)


def _no_such(kind: str, wanted: str, known: Sequence[str]) -> str:
    lower = {name.lower(): name for name in known}
    close = [lower[m] for m in difflib.get_close_matches(wanted.lower(), lower, n=3, cutoff=0.5)]
    if close:
        return f"There is no {kind} {wanted!r}. Did you mean {' or '.join(close)}?"
    shown = ", ".join(list(known)[:20]) + (" …" if len(known) > 20 else "")
    return f"There is no {kind} {wanted!r}. There are: {shown}."
