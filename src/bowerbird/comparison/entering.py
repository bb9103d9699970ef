"""Makes and times the networks of a bake-off, before the first round.

Decisions:
- What an image takes is measured on a few images: reading it (the wall's time) and the network
  (one thread's processor time, which others that keep the machine busy disturb least; the
  wall's on an accelerator), all networks in turn. The fastest of some rounds counts: others
  can only slow a network down.
- A network that can't be made (no weights, a size that it doesn't take) is left out, with the
  reason. Two names for the same weights are one network.
- Networks stay in memory while they take less than a gigabyte together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from bowerbird import progress
from bowerbird.comparison.bakeoff import Arm
from bowerbird.comparison.candidates import Candidate
from bowerbird.comparison.judging import Pool
from bowerbird.config import NetworkConfig
from bowerbird.data.images import load_input
from bowerbird.errors import DataError, ImageError, ModelError, WeightsError
from bowerbird.features import FeatureCache
from bowerbird.features.extraction import PLAIN, Extractor
from bowerbird.models.networks import Network, from_config
from bowerbird.models.summary import summarise

__all__ = ["Contestant", "crowded", "enter"]

_TIMED_ROUNDS, _FEWEST_ROUNDS, _TIMED_SECONDS = 9, 3, 3.0
_IN_MEMORY = 1 << 30


@dataclass
class Contestant:
    """A network that can be asked for features.

    Attributes:
        arm: what is told of it.
        made: makes it anew.
        key: digest of what its features are kept under.
        pace: seconds per image, on all cores.
        missing: whether an image's features are not in the cache [N].
    """

    arm: Arm
    made: Callable[[], Extractor]
    key: str
    pace: float
    missing: NDArray[np.bool_]
    _extractor: Extractor | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """In tables."""
        return self.arm.name

    def extractor(self) -> Extractor:
        """The network, made if it isn't there."""
        if self._extractor is None:
            self._extractor = self.made()
        return self._extractor

    def rest(self) -> None:
        """Give its memory back."""
        self._extractor = None


def enter(
    candidates: Sequence[Candidate],
    settings: NetworkConfig,
    pool: Pool,
    *,
    seed: int = 0,
    device: str = "cpu",
    workers: int = 1,
    cache: FeatureCache,
) -> tuple[list[Contestant], dict[str, str]]:
    """Make and time networks.

    Args:
        candidates: what was asked for.
        settings: of all networks: image size, channels, offline.
        pool: the images.
        seed: of random weights.
        device: ``"cpu"`` or a torch device.
        workers: threads.
        cache: where features are kept.

    Returns:
        The networks, the cheapest first, and by name why others can't take part.

    Raises:
        ModelError: none of them can.
    """
    found: list[Contestant] = []
    skipped: dict[str, str] = {}
    with progress.task("Making networks", len(candidates)) as task:
        for candidate in candidates:
            task.note(candidate.name)
            try:
                made = _contestant(candidate, settings, pool, seed, device, cache)
            except ModelError as error:
                skipped[candidate.name] = _reason(error, candidate)
            else:
                twin = next((c.name for c in found if c.key == made.key), None)
                if twin is None:
                    found.append(made)
                else:
                    skipped[candidate.name] = f"It has the same weights as {twin}."
                if crowded(found):
                    found[-1].rest()
            task.advance()
    if not found:
        listed = "\n".join(f"  - {name}: {reason}" for name, reason in skipped.items())
        raise ModelError(f"None of the networks can take part:\n{listed}")
    _time(found, pool, workers)
    return sorted(found, key=lambda c: c.arm.milliseconds), skipped


def crowded(contestants: Sequence[Contestant]) -> bool:
    """Whether networks take so much memory together that each should rest after its work."""
    megabytes = sum(contestant.arm.megabytes for contestant in contestants)
    return 2 * megabytes * 1e6 > _IN_MEMORY  # the network, and its copy for extraction


def _contestant(
    candidate: Candidate,
    settings: NetworkConfig,
    pool: Pool,
    seed: int,
    device: str,
    cache: FeatureCache,
) -> Contestant:
    """A network, ready, but for its times."""
    config = settings.model_copy(update={"model": candidate.model, "weights": candidate.weights})

    def made() -> Extractor:
        return Extractor(from_config(config, pool.classes, seed), device=device)

    extractor = made()
    network = extractor.network
    hashes = [image.content_hash for image in pool.images]
    store = cache.store(extractor.key(PLAIN), extractor.shape)
    missing = np.isin(np.array(hashes), np.array(store.missing(hashes), dtype=str))
    arm = Arm(
        candidate.name, candidate.model, candidate.weights, network.weights.origin,
        network.weights.licence, network.preprocess.input_size, int(np.prod(extractor.shape)),
        network.parameters, _file_size(network) / 1e6, _multiply_adds(network), 0.0,
        extractor.precision,
    )  # fmt: skip
    return Contestant(arm, made, extractor.key(PLAIN).digest(), 0.0, missing, extractor)


def _reason(error: ModelError, candidate: Candidate) -> str:
    """Why a network can't be made; what to do about it as a bake-off takes it."""
    lines = str(error).splitlines()
    if isinstance(error, WeightsError) and lines[-1].startswith("Give a file"):
        lines[-1] = f"Give a file with --models {candidate.model}=FILE, or leave it out."
    return "\n".join(lines)


def _file_size(network: Network) -> int:
    """Bytes of all values, which is what a saved network takes."""
    return sum(t.numel() * t.element_size() for t in network.module.state_dict().values())


def _multiply_adds(network: Network) -> int | None:
    try:
        return summarise(network).multiply_adds
    except ModelError:  # its code looks at values
        return None


def _time(contestants: Sequence[Contestant], pool: Pool, workers: int) -> None:
    """Fill in what an image takes, network by network in turn."""
    inputs = {c.name: _inputs(c, pool) for c in contestants}
    taken: dict[str, list[tuple[float, float]]] = {c.name: [] for c in contestants}
    began = time.monotonic()
    with progress.task("Timing networks", _TIMED_ROUNDS) as task:
        for number in range(_TIMED_ROUNDS):
            for contestant in contestants:
                taken[contestant.name].append(_timed(contestant, inputs[contestant.name][0]))
                if crowded(contestants):
                    contestant.rest()
            task.advance()
            enough = number + 1 >= _FEWEST_ROUNDS
            if enough and time.monotonic() - began > _TIMED_SECONDS * len(contestants):
                break
    for contestant in contestants:
        times = np.array(taken[contestant.name])
        own, wall = float(times[:, 0].min()), float(np.median(times[:, 1]))
        contestant.pace = max(1e-6, (inputs[contestant.name][1] + wall) / max(1, workers))
        contestant.arm = replace(contestant.arm, milliseconds=max(1e-6, 1000 * own))


def _inputs(contestant: Contestant, pool: Pool) -> tuple[NDArray[np.uint8], float]:
    """A batch of images as the network takes them, and the seconds that reading one took."""
    extractor = contestant.extractor()
    found: list[NDArray[np.uint8]] = []
    began = time.perf_counter()
    tried = 0
    for image in pool.images:
        if len(found) == min(extractor.batch, len(pool)):
            break
        tried += 1
        try:
            found.append(load_input(image.path, extractor.network.preprocess))
        except ImageError:
            continue
    if not found:
        raise DataError("None of the images can be read any more. Restore them.")
    return np.stack(found), (time.perf_counter() - began) / tried


def _timed(contestant: Contestant, pixels: NDArray[np.uint8]) -> tuple[float, float]:
    """Seconds per image in the network: of one thread's processor, and the wall's."""
    extractor = contestant.extractor()
    before = torch.get_num_threads()
    if extractor.device.type == "cpu":
        torch.set_num_threads(1)  # as in extraction
    try:
        wall, own = time.perf_counter(), time.thread_time()
        extractor(pixels)
        own, wall = time.thread_time() - own, time.perf_counter() - wall
    finally:
        torch.set_num_threads(before)
    each = extractor.batch  # fewer images are filled up to a batch
    return (own if extractor.device.type == "cpu" else wall) / each, wall / each
