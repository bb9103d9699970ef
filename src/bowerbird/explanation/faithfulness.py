"""Can maps be trusted here? `check` measures them beside maps that know nothing.

Decisions:
- Two baselines: a Gaussian in the middle of the picture, and coarse random heat. Photos have
  their subject in the middle, so the first is hard to beat, and "better than random" proves
  nothing.
- The randomisation check (Adebayo et al. 2018, arXiv:1810.03292): maps of the same network
  with random weights must not look like its own. Weights are drawn anew, and batch-norms
  see the images once, as in a network before training.
- Maps are trusted if insertion − deletion is at least .05 over the middle's and .10 over
  the random one's, and the rank correlation with the random network's at most .3.
- Empty maps are counted, and left out.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bowerbird import progress
from bowerbird.errors import DataError
from bowerbird.explanation.attribution import Attributor
from bowerbird.explanation.capture import evaluating, in_float32, scores_of
from bowerbird.explanation.maps import FORMULAS
from bowerbird.explanation.perturbation import (
    Answer,
    blurred,
    centre_map,
    deletion_insertion,
    drop_of,
    order_of,
    random_map,
    road_of,
)
from bowerbird.explanation.quick import quickened
from bowerbird.explanation.results import Attribution, enlarged
from bowerbird.models.networks import Network

__all__ = ["CENTRE", "RANDOM", "Faithfulness", "Score", "check", "randomised", "rank_correlation"]

CENTRE, RANDOM = "middle of the picture", "random places"
_OVER_CENTRE, _OVER_RANDOM, _MOST_ALIKE = 0.05, 0.10, 0.3
_FEW, _EXAMPLE = 8, 2


@dataclass(frozen=True, eq=False)
class Score:
    """How one kind of map did on N images.

    Attributes:
        deletion: [N, steps + 1] probabilities while pixels are taken away.
        insertion: [N, steps + 1] while they are shown.
        road: [N] mean probability without the least marked pixels, less without the most.
        drop: [N] share of the probability that is lost where only the heat is shown.
        increase: [N] true where it rises instead.
    """

    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]
    road: NDArray[np.float64]
    drop: NDArray[np.float64]
    increase: NDArray[np.bool_]

    @property
    def gain(self) -> NDArray[np.float64]:
        """[N] insertion less deletion, averaged over the way; at most 1."""
        return _area(self.insertion) - _area(self.deletion)

    def to_dict(self) -> dict[str, float]:
        """Means over the images."""
        return {
            "insertion_minus_deletion": _mean(self.gain),
            "insertion": _mean(_area(self.insertion)),
            "deletion": _mean(_area(self.deletion)),
            "road": _mean(self.road),
            "average_drop": _mean(self.drop),
            "increase": _mean(self.increase),
        }


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """Whether maps show what the network uses.

    Attributes:
        method: that was checked.
        layer: that was looked at, or None.
        scores: of the method, of the middle, of random heat, by name.
        correlations: [N] rank correlation with the map of the randomised network; NaN where
            one of the two is empty.
        steps: of insertion and deletion.
        blur: standard deviation in pixels of the blur that hides.
        empty: maps that were left out.
    """

    method: str
    layer: str | None
    scores: dict[str, Score]
    correlations: NDArray[np.float64]
    steps: int
    blur: float
    empty: int = 0

    def __len__(self) -> int:
        return len(self.correlations)

    def __repr__(self) -> str:
        word = "trusted" if self.trusted else "not trusted"
        gain = _mean(self.scores[self.method].gain)
        return f"Faithfulness({self.method}, {len(self)} images, gain {gain:.3f}, {word})"

    @property
    def over_centre(self) -> float:
        """Insertion − deletion, less that of a Gaussian in the middle."""
        return _mean(self.scores[self.method].gain - self.scores[CENTRE].gain)

    @property
    def over_random(self) -> float:
        """Insertion − deletion, less that of random heat."""
        return _mean(self.scores[self.method].gain - self.scores[RANDOM].gain)

    @property
    def correlation(self) -> float | None:
        """Mean rank correlation with maps of the randomised network; None if all were empty."""
        known = self.correlations[np.isfinite(self.correlations)]
        return float(known.mean()) if len(known) else None

    @property
    def faults(self) -> tuple[str, ...]:
        """What speaks against the maps, in clauses."""
        found = []
        if self.over_centre < _OVER_CENTRE:
            found.append(
                f"marking the middle of the picture does as well (they lead by "
                f"{self.over_centre:+.3f} in insertion − deletion, {_OVER_CENTRE:.2f} is asked)"
            )
        if self.over_random < _OVER_RANDOM:
            found.append(
                f"random places do nearly as well (they lead by {self.over_random:+.3f}, "
                f"{_OVER_RANDOM:.2f} is asked)"
            )
        if self.correlation is not None and self.correlation > _MOST_ALIKE:
            found.append(
                f"a network with random weights has similar maps (rank correlation "
                f"{self.correlation:.2f}, at most {_MOST_ALIKE:.1f} is asked)"
            )
        return tuple(found)

    @property
    def trusted(self) -> bool:
        """Whether nothing speaks against the maps."""
        return not self.faults

    @property
    def verdict(self) -> str:
        """A sentence or two for a person."""
        few = f" Only {len(self)} images were looked at." if len(self) < _FEW else ""
        hidden = self.scores[self.method].deletion[:, -1].mean()
        own = self.scores[self.method].deletion[:, 0].mean()
        if self.trusted:
            return (
                f"The maps of {self.method} can be trusted here: what they mark matters more to "
                f"the network than the middle of the picture (by {self.over_centre:.3f} in "
                f"insertion − deletion) or random places (by {self.over_random:.3f}), and "
                f"{self._unlike()}.{few}"
            )
        blind = (
            f" The network stays at {hidden:.0%} for the class when all is blurred ({own:.0%} "
            "before), so there is little to lose." if own - hidden < 0.2 else ""
        )  # fmt: skip
        return (
            f"The maps of {self.method} should not be trusted here: "
            f"{'; '.join(self.faults)}.{blind}{few}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Means and the verdict, for JSON."""
        return {
            "method": self.method,
            "layer": self.layer,
            "images": len(self),
            "empty": self.empty,
            "steps": self.steps,
            "blur_pixels": round(self.blur, 2),
            "scores": {name: score.to_dict() for name, score in self.scores.items()},
            "over_centre": self.over_centre,
            "over_random": self.over_random,
            "random_weights_correlation": self.correlation,
            "trusted": self.trusted,
            "verdict": self.verdict,
        }

    def _unlike(self) -> str:
        if self.correlation is None:
            return "a network with random weights has empty maps"
        return (
            "they change when the network's weights are random (rank correlation "
            f"{self.correlation:.2f})"
        )


def check(
    network: Network | nn.Module,
    inputs: torch.Tensor,
    found: Attribution,
    *,
    steps: int = 14,
    blur: float | None = None,
    seed: int = 0,
) -> Faithfulness:
    """Measure the maps of some images beside a Gaussian in the middle and random heat.

    Args:
        network: that they are of.
        inputs: [N, C, H, W], normalised, in the order of the maps.
        found: the maps.
        steps: of insertion and deletion.
        blur: standard deviation in pixels of what hides; by default a tenth of the
            shorter side.
        seed: draws the random heat, the noise and the random weights.

    Raises:
        DataError: there are no maps but empty ones, or not one per input.
    """
    if len(found) != len(inputs):
        raise DataError(
            f"{len(found)} maps can't be checked on {len(inputs)} inputs: give as many."
        )
    kept = np.flatnonzero(~found.empty)
    if len(kept) == 0:
        raise DataError("Every map is empty, so there is nothing to check. Use another --layer.")
    given = network.module if isinstance(network, Network) else network
    module, images, maps = in_float32(given), inputs[kept], found.select(kept)
    sigma = blur or min(found.size) / 10
    scores = _scored(module, images, maps, steps, sigma, seed)
    alike = _against_random_weights(module, images, maps, seed)
    empty = len(found) - len(kept)
    return Faithfulness(found.method, found.layer, scores, alike, steps, sigma, empty)


def randomised(module: nn.Module, images: torch.Tensor, seed: int = 0) -> nn.Module:
    """A copy with random weights, as before training; batch-norms have seen the images.

    Weights of several dimensions are normal with variance 2 / fan-in, others are 1, biases 0.
    """
    blank = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in blank.named_parameters():
            if weight.ndim > 1:
                scale = (2 * len(weight) / weight.numel()) ** 0.5
                drawn = torch.randn(weight.shape, generator=generator) * scale
                weight.copy_(drawn.to(weight.device))
            else:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)
        norms = [m for m in blank.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        blank.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over what it sees
            norm.train()
        if norms:
            blank(images.clone())
    return blank.eval()


def rank_correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Spearman's, ties at their mean rank; NaN where one of the two is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(values.ravel()) for values in (one, other)]
    ranks = [rank - rank.mean() for rank in ranks]
    size = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float((ranks[0] * ranks[1]).sum() / size) if size else float("nan")


def _scored(
    module: nn.Module,
    images: torch.Tensor,
    found: Attribution,
    steps: int,
    sigma: float,
    seed: int,
) -> dict[str, Score]:
    random = np.random.default_rng(seed)
    rows: dict[str, list[tuple[Any, ...]]] = {found.method: [], CENTRE: [], RANDOM: []}
    middle = centre_map(found.size)
    module = quickened(module, images[:_EXAMPLE].to(_device(module), torch.float32))
    with evaluating(module), progress.task("Checking the maps", len(found)) as task:
        for i, image in enumerate(images):
            answer = _answer(module, int(found.targets[i]))
            hidden = blurred(image[None], sigma)[0]
            cells = max(2, min((*found.maps.shape[1:], 14)))
            heats = found.heat(i), middle, enlarged(random_map(cells, random), found.size)
            for name, heat in zip(rows, heats, strict=True):
                order = order_of(heat)
                pair = deletion_insertion(image, hidden, order, answer, steps)
                road = road_of(image, order, answer, seed=seed)
                rows[name].append((*pair, road, *drop_of(image, heat, answer)))
            task.advance()
    return {name: Score(*map(np.array, zip(*each, strict=True))) for name, each in rows.items()}


def _answer(module: nn.Module, target: int) -> Answer:
    device = _device(module)

    def answer(copies: torch.Tensor) -> NDArray[np.float64]:
        parts = torch.split(copies.to(device, torch.float32), 16)
        shares = [torch.softmax(scores_of(module, part).float(), 1)[:, target] for part in parts]
        return np.asarray(torch.cat(shares).cpu().numpy(), np.float64)

    return answer


def _against_random_weights(
    module: nn.Module, images: torch.Tensor, found: Attribution, seed: int
) -> NDArray[np.float64]:
    blank = randomised(module, images[:16].to(_device(module), torch.float32), seed)
    layer = found.layer if found.method in FORMULAS else None
    attributor = Attributor(blank, method=found.method, layer=layer, classes=found.classes)
    targets = [int(t) for t in found.targets]
    against = [int(r) if r >= 0 else None for r in found.against]
    other = attributor(images, targets, against)
    return np.array(
        [
            float("nan") if other.empty[i] else rank_correlation(found.maps[i], other.maps[i])
            for i in range(len(found))
        ]
    )


def _device(module: nn.Module) -> torch.device:
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def _area(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N] mean height of curves [N, steps + 1], the ends half."""
    return np.asarray((curve[:, 1:] + curve[:, :-1]).mean(1) / 2)


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values))
