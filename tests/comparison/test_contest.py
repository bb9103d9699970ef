"""A time limit, with a clock that only moves when something is computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bowerbird.comparison import contest as module
from bowerbird.comparison.bakeoff import Arm
from bowerbird.comparison.contest import Contest, Limit
from bowerbird.comparison.entering import Contestant, crowded
from bowerbird.comparison.halving import Correct, Round, race, sizes
from bowerbird.comparison.judging import Pool
from bowerbird.data.dataset import Problem
from bowerbird.errors import ConfigError, DataError
from bowerbird.features import FeatureCache, Image

IMAGES = 800


class World:
    """Networks that take the seconds per image that they really take, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **paces: float) -> None:
        self.time, self.paces, self.judging = 0.0, paces, 0.0
        self.computed: list[tuple[str, int]] = []
        self.unreadable: set[str] = set()
        monkeypatch.setattr(module, "extract", self._extract)
        monkeypatch.setattr(module, "judged", self._judged)
        self.cache = FeatureCache(tmp_path)
        images = tuple(Image(Path(f"{n}.png"), f"{n:032x}") for n in range(IMAGES))
        every = np.ones(IMAGES, bool)
        self.pool = Pool(images, np.arange(IMAGES) % 2, ~every, every, (), 2, "left-out")

    def contest(self, budget: float, **believed: float) -> Contest:
        """A contest whose paces were measured rightly, or as is `believed`."""
        found = [
            self._contestant(name, believed.get(name, pace)) for name, pace in self.paces.items()
        ]
        limit = Limit(budget, clock=lambda: self.time)
        return Contest(found, self.pool, limit, self.cache, 1)

    def images_of(self, name: str) -> int:
        return sum(count for who, count in self.computed if who == name)

    def _contestant(self, name: str, pace: float) -> Contestant:
        arm = Arm(name, name, "auto", "", None, (8, 8), 4, 1, 1.0, 1, 1000 * pace, "float32")
        extractor: Any = SimpleNamespace(network=name, key=lambda view: None, shape=(4,))
        return Contestant(arm, lambda: extractor, name, pace, np.ones(IMAGES, bool))

    def _extract(
        self, network: str, images: Sequence[Image], **_: Any
    ) -> tuple[list[Any], list[Problem]]:
        self.time += self.paces[network] * len(images)
        self.computed.append((network, len(images)))
        lost = [i for i in images if i.content_hash in self.unreadable]
        return [], [Problem(str(i.path), "gone") for i in lost]

    def _judged(self, features: Any, pool: Pool, count: int, bad: frozenset[str]) -> Correct:
        self.time += self.judging * count
        return np.ones(sum(i.content_hash not in bad for i in pool.images[:count]), bool)


@pytest.fixture(autouse=True)
def _no_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FeatureCache, "store", lambda *_: None)
    monkeypatch.setattr(module, "Features", lambda *_: None)


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return monkeypatch


def held(contest: Contest) -> list[Round]:
    arms, _ = contest.within_reach(100)
    return list(race(arms, sizes(IMAGES, 2), contest.judge))


def test_with_time_enough_all_get_all_images_and_none_twice(
    patch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(patch, tmp_path, a=0.01, b=0.02)
    rounds = held(world.contest(100))
    assert [ended.images for ended in rounds] == [100, 200, 400, 800]
    assert (world.images_of("a"), world.images_of("b")) == (800, 800)
    assert world.time == pytest.approx(24)


def test_the_last_round_takes_what_time_is_left_the_same_for_all(
    patch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(patch, tmp_path, a=0.01, b=0.03)
    rounds = held(world.contest(22.001))
    assert [ended.images for ended in rounds] == [100, 200, 400, 550]
    assert world.time == pytest.approx(22)
    assert {len(right) for right in rounds[-1].correct.values()} == {550}


def test_too_little_more_is_not_worth_a_round(patch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World(patch, tmp_path, a=0.01, b=0.03)
    rounds = held(world.contest(19))  # 475 images, less than a quarter more than 400
    assert [ended.images for ended in rounds] == [100, 200, 400]
    assert world.time == pytest.approx(16)


def test_a_network_that_proves_slower_leaves_fewer_images_and_keeps_the_limit(
    patch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(patch, tmp_path, a=0.01, b=0.06)
    contest = world.contest(40, b=0.02)
    rounds = held(contest)
    assert [ended.images for ended in rounds[:3]] == [100, 200, 400]
    assert 500 <= rounds[3].images < 580
    assert world.time < 42
    assert contest.contestants["b"].pace == pytest.approx(0.06, rel=0.1)


def test_time_for_judging_is_foretold_and_kept(patch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World(patch, tmp_path, a=0.01, b=0.01)
    world.judging = 0.01
    rounds = held(world.contest(25))
    assert rounds[-1].images < 800
    assert world.time <= 25 * 1.05


def test_the_dearest_are_left_out_if_there_is_no_time_to_begin(
    patch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(patch, tmp_path, a=0.01, b=0.02, giant=3.0)
    contest = world.contest(30)
    arms, late = contest.within_reach(100)
    assert arms == ("a", "b")
    assert list(late) == ["giant"]
    assert "3000 ms per image. All networks on all images take about 40 min" in late["giant"]


def test_a_budget_too_small_is_answered_with_the_smallest_that_would_do(
    patch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(patch, tmp_path, a=0.1, b=0.2, c=0.4)
    with pytest.raises(ConfigError) as caught:
        world.contest(5).within_reach(100)
    words = str(caught.value)
    assert "The budget of 5 s is too short." in words
    assert "a and b need about 19 s more for a first round of 64 images." in words
    assert "about --budget 23s" in words  # 1.15 × 19.2
    assert "alone" not in words
    assert "all images take about --budget 644s" in words
    with pytest.raises(ConfigError, match="There is time for a alone, and a bake-off compares two"):
        world.contest(10).within_reach(100)
    assert world.contest(23).within_reach(100)[0] == ("a", "b")


def test_a_first_round_that_proves_too_long_ends_the_race(
    patch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(patch, tmp_path, a=1.0, b=1.0)
    contest = world.contest(30, a=0.01, b=0.01)
    assert held(contest) == []
    assert "too short" in str(contest.too_short())


def test_what_is_in_the_cache_costs_nothing(patch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World(patch, tmp_path, a=0.01, b=0.03)
    contest = world.contest(2)
    contest.contestants["a"].missing[:] = False
    contest.contestants["b"].missing[:750] = False
    assert contest.seconds(("a", "b"), IMAGES) == pytest.approx(1.5)
    assert held(contest)[-1].images == 800
    assert world.computed == [("b", 50)]


def test_an_image_that_is_gone_counts_for_no_network(
    patch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(patch, tmp_path, a=0.01, b=0.03)
    world.unreadable = {f"{n:032x}" for n in (3, 150)}
    contest = world.contest(100)
    rounds = held(contest)
    assert [len(ended.correct["a"]) for ended in rounds] == [99, 198, 398, 798]
    assert [len(ended.correct["b"]) for ended in rounds] == [99, 198, 398, 798]
    assert contest.bad == world.unreadable
    assert world.images_of("b") == 798


def test_no_readable_image_is_an_error(patch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World(patch, tmp_path, a=0.01, b=0.03)
    world.unreadable = {f"{n:032x}" for n in range(IMAGES)}
    with pytest.raises(DataError, match="None of the images that decide can be read"):
        held(world.contest(100))


def test_time_of_earlier_sittings_counts() -> None:
    moment = [10.0]
    limit = Limit(60, 5, clock=lambda: moment[0])
    moment[0] = 22.0
    assert (limit.spent, limit.left) == (17.0, 43.0)
    limit.add(40)
    assert limit.left == 3.0


def test_networks_rest_between_their_turns_where_memory_is_short(
    patch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(patch, tmp_path, a=0.01, b=0.03)
    contest = world.contest(100)
    contestants = list(contest.contestants.values())
    assert not crowded(contestants)
    held(contest)
    assert contestants[0]._extractor is not None
    patch.setattr("bowerbird.comparison.entering._IN_MEMORY", 1000)
    assert crowded(contestants)
    held(contest)
    assert contestants[0]._extractor is None
