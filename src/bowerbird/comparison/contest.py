"""The networks of a bake-off at work: features and judgement within a time limit.

Decisions:
- How long a round will take is foretold from what was measured before the first one
  (`entering`), and from then on from what extraction really takes.
- If the next round does not fit into the time that is left, it has fewer images, for all
  networks alike; below a quarter more than the last round had, there is no next round.
- Networks that would not even get through a first round of the fewest images are left out, the
  dearest first.
- Features go through the cache: what is there costs nothing, what is computed stays.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bowerbird import progress
from bowerbird.comparison.entering import Contestant, crowded
from bowerbird.comparison.halving import Correct
from bowerbird.comparison.judging import Pool, judged
from bowerbird.errors import ConfigError, DataError
from bowerbird.features import FeatureCache, Features, extract
from bowerbird.features.extraction import PLAIN

__all__ = ["Contest", "Limit"]

_FEWEST, _FEWEST_PER_CLASS = 64, 2
_WORTHWHILE = 1.25
_CHUNK_SECONDS = 8.0
_GROWTH = 1.5
_MARGIN = 1.15


class Limit:
    """A budget, and what is left of it.

    Args:
        seconds: in all.
        spent: in earlier sittings.
        clock: gives the time in seconds.
    """

    def __init__(
        self, seconds: float, spent: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.seconds, self._earlier, self.now = seconds, spent, clock
        self._began = clock()

    @property
    def spent(self) -> float:
        """Seconds so far, over all sittings."""
        return self._earlier + self.now() - self._began

    @property
    def left(self) -> float:
        """Seconds."""
        return self.seconds - self.spent

    def add(self, earlier: float) -> None:
        """Count seconds of earlier sittings, too."""
        self._earlier += earlier


class Contest:
    """Judges networks within a time limit; `judge` is what a race asks.

    Args:
        contestants: the networks.
        pool: the images.
        limit: of time.
        cache: where features are kept.
        workers: threads.
    """

    def __init__(
        self,
        contestants: Sequence[Contestant],
        pool: Pool,
        limit: Limit,
        cache: FeatureCache,
        workers: int,
    ) -> None:
        self.contestants = {c.name: c for c in contestants}
        self.pool, self.limit, self.cache, self.workers = pool, limit, cache, workers
        self.done, self.bad = 0, set[str]()
        self._judging = (0, 0.0)  # images, and seconds that judging one network took

    @property
    def fewest(self) -> int:
        """Images below which a first round says nothing."""
        return min(len(self.pool), max(_FEWEST, _FEWEST_PER_CLASS * self.pool.classes))

    def seconds(self, arms: Sequence[str], images: int) -> float:
        """How long it will take to compute what is missing of the first images."""
        every = self._each_image(arms)[:images]
        return float(every.sum()) + len(arms) * self._foretold(images)

    def affordable(self, arms: Sequence[str], images: int) -> int:
        """How many of the first images all these networks can be given in the time left."""
        left = self.limit.left - len(arms) * self._foretold(images)
        total = np.cumsum(self._each_image(arms)[:images])
        return int(np.searchsorted(total, max(0.0, left), side="right"))

    def within_reach(self, first: int) -> tuple[tuple[str, ...], dict[str, str]]:
        """The networks that there is time for, and why not for the others.

        Args:
            first: images of the first round.

        Raises:
            ConfigError: there isn't even time for two (or for the only one).
        """
        names = list(self.contestants)
        kept = len(names)
        while kept and self.affordable(names[:kept], first) < self.fewest:
            kept -= 1
        if kept < min(2, len(names)):
            raise self.too_short(kept)
        whole = self.limit.spent + self.seconds(names, len(self.pool))
        skipped = {}
        for name in names[kept:]:
            pace = 1000 * self.contestants[name].pace
            skipped[name] = (
                f"There is no time for it: {pace:.0f} ms per image. All networks on all images "
                f"take about {_duration(whole)} (--budget)."
            )
        return tuple(names[:kept]), skipped

    def judge(self, arms: tuple[str, ...], images: int) -> tuple[int, Mapping[str, Correct]] | None:
        """See `halving.Judge`."""
        least = max(self.fewest, math.ceil(_WORTHWHILE * self.done)) if self.done else self.fewest
        least = min(least, images)
        for name in arms:
            found = self._compute(self.contestants[name], arms, images, least)
            if found is None:
                return None
            images = found
        correct = self._judged(arms, images)
        self.done = images
        return images, correct

    def too_short(self, affordable: int = 0) -> ConfigError:
        """What to say where there isn't even time for a first round.

        Args:
            affordable: networks that there is time for.
        """
        names, few, limit = list(self.contestants), self.fewest, self.limit
        wanted = names[:2]
        first, whole = self.seconds(wanted, few), self.seconds(names, len(self.pool))
        alone = f" There is time for {names[0]} alone, and a bake-off compares two."
        return ConfigError(
            f"The budget of {_duration(limit.seconds)} is too short. Reading the images and making "
            f"the networks took {_duration(limit.spent)}; {' and '.join(wanted)} need about "
            f"{_duration(first)} more for a first round of {few} images."
            f"{alone if affordable and len(names) > 1 else ''} The smallest budget that would do "
            f"is about --budget {math.ceil(_MARGIN * (limit.spent + first))}s; all networks on all "
            f"images take about --budget {math.ceil(_MARGIN * (limit.spent + whole))}s."
        )

    def _compute(
        self, contestant: Contestant, arms: Sequence[str], images: int, least: int
    ) -> int | None:
        """Compute what is missing; the number of images there was time for, None if too few."""
        while True:
            images = min(images, self.affordable(arms, images))
            if images < least:
                return None
            rows = np.flatnonzero(contestant.missing[:images])
            if not len(rows):
                return images
            batch = max(_FEWEST, int(_CHUNK_SECONDS / contestant.pace))
            self._extract(contestant, rows[:batch])
            if crowded(list(self.contestants.values())):
                contestant.rest()

    def _extract(self, contestant: Contestant, rows: NDArray[np.int64]) -> None:
        extractor = contestant.extractor()
        began = self.limit.now()
        _, lost = extract(
            extractor.network, [self.pool.images[int(i)] for i in rows], extractor=extractor,
            workers=self.workers, cache=self.cache,
        )  # fmt: skip
        taken = (self.limit.now() - began) / len(rows)
        contestant.pace = max(1e-6, (contestant.pace + taken) / 2)
        contestant.missing[rows] = False
        gone = {problem.path for problem in lost}
        for i in rows:
            if str(self.pool.images[int(i)].path) in gone:
                self._lose(self.pool.images[int(i)].content_hash)
        for problem in lost:
            progress.say(f"Left out: {problem.path}: {problem.reason}.")

    def _lose(self, content_hash: str) -> None:
        """An image that can't be read any more counts for no network."""
        self.bad.add(content_hash)
        same = np.array([image.content_hash == content_hash for image in self.pool.images])
        for contestant in self.contestants.values():
            contestant.missing[same] = False

    def _judged(self, arms: Sequence[str], images: int) -> dict[str, Correct]:
        correct: dict[str, Correct] = {}
        began = self.limit.now()
        with progress.task("Judging", len(arms)) as task:
            for name in arms:
                contestant = self.contestants[name]
                task.note(name)
                features = self._features(contestant)
                correct[name] = judged(features, self.pool, images, frozenset(self.bad))
                if not len(correct[name]):
                    raise DataError(
                        "None of the images that decide can be read. Restore them, and run the "
                        "command again."
                    )
                task.advance()
        self._judging = images, (self.limit.now() - began) / max(1, len(arms))
        return correct

    def _features(self, contestant: Contestant) -> Features:
        extractor = contestant.extractor()
        store = self.cache.store(extractor.key(PLAIN), extractor.shape)
        if crowded(list(self.contestants.values())):
            contestant.rest()
        return Features(store, (), extractor.shape)

    def _each_image(self, arms: Sequence[str]) -> NDArray[np.float64]:
        """Seconds that each image will still take, over these networks [N]."""
        found = np.zeros(len(self.pool))
        for name in arms:
            contestant = self.contestants[name]
            found += contestant.pace * contestant.missing
        return found

    def _foretold(self, images: int) -> float:
        """Seconds that judging one network on so many images will take, as the last time."""
        before, seconds = self._judging
        return seconds * (images / before) ** _GROWTH if before else 0.0


def _duration(seconds: float) -> str:
    """Seconds in a sentence."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
