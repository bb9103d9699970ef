"""What a run's network costs: its size, what an image takes, how long training took.

Decisions:
- Parameters and multiply-adds are counted on a copy without values, as `models.summary` does.
- The Pareto front holds what nothing else beats in both cost and accuracy; what measures the
  same in both is in it together.

Time and memory are measured in `clock`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bowerbird.config import NetworkConfig

if TYPE_CHECKING:
    from bowerbird.comparison.entrants import Entrant

__all__ = ["Costs", "Speed", "costs_of", "pareto", "shape_of"]


@dataclass(frozen=True)
class Speed:
    """What one image takes, from pixels to probabilities.

    Attributes:
        milliseconds: per image, median over rounds.
        low: lower quartile of the rounds.
        high: upper quartile.
        memory_mb: peak memory of a process that does nothing else, in MB of 10⁶ bytes.
        before_mb: what it took before it made the network.
        precision: of the numbers.
        batch: images at a time.
        threads: of the processor.
        device: where it ran.
    """

    milliseconds: float
    low: float
    high: float
    memory_mb: float | None
    before_mb: float | None
    precision: str
    batch: int
    threads: int
    device: str

    def __repr__(self) -> str:
        return f"Speed({self.milliseconds:.2f} ms per image, {self.precision})"

    @property
    def conditions(self) -> str:
        """How it was measured, apart from the precision."""
        threads = "one thread" if self.threads == 1 else f"{self.threads} threads"
        place = f"processor time, {threads}" if self.device == "cpu" else f"on {self.device}"
        return f"{place}, batches of {self.batch}, without reading files"


@dataclass(frozen=True)
class Costs:
    """What a run's network costs.

    Attributes:
        parameters: number of them.
        multiply_adds: for one image.
        input_size: height and width in pixels.
        file_mb: size of the model's file in MB of 10⁶ bytes; None if there is none yet.
        seconds_training: as the run has noted it.
        speed: as measured for this comparison, or None.
    """

    parameters: int
    multiply_adds: int
    input_size: tuple[int, int]
    file_mb: float | None = None
    seconds_training: float | None = None
    speed: Speed | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"input_size": list(self.input_size)}


def costs_of(entrant: Entrant) -> Costs:
    """Size and training time of a run; what was measured is put beside it later.

    Raises:
        ModelError, RunError: the network can't be made, or its model is damaged.
    """
    from bowerbird.models.networks import load_network
    from bowerbird.models.summary import summarise, without_weights

    folder = entrant.run.path / "model"
    file = folder / "model.safetensors"
    if entrant.finished:
        network, _ = load_network(folder)
    else:
        network = without_weights(entrant.run.recipe.network, len(entrant.run.classes))
    made = summarise(network)
    return Costs(
        made.parameters,
        made.multiply_adds,
        made.input_size[1:],
        file.stat().st_size / 1e6 if file.is_file() else None,
        entrant.seconds_training,
    )


def shape_of(entrant: Entrant) -> str:
    """What two runs share if their networks cost the same: all but the values of the weights."""
    known: Any = entrant.facts.get("network")
    known = known if isinstance(known, dict) else {}
    precision = entrant.facts.get("forward_precision")
    network: NetworkConfig = entrant.run.recipe.network
    plain = network.model_dump(exclude={"weights", "pretrained", "offline"})
    given = entrant.run.path if entrant.facts.get("network_given") else ""
    facts = (plain, len(entrant.run.classes), known.get("preprocess"), precision, given)
    return repr((*facts, entrant.run.recipe.train.device))


def pareto(costs: Sequence[float | None], scores: Sequence[float | None]) -> list[int]:
    """Indices of what no other one beats in both, the cheapest first.

    >>> pareto([1, 2, 3, None], [0.9, 0.8, 0.95, 1.0])
    [0, 2]
    """
    points = [
        (float(cost), -float(score), index)
        for index, (cost, score) in enumerate(zip(costs, scores, strict=True))
        if cost is not None and score is not None
    ]
    found: list[int] = []
    best: tuple[float, float] | None = None
    for cost, score, index in sorted(points):
        if best is None or score < best[1] or (cost, score) == best:
            found.append(index)
            best = (cost, score)
    return found
