"""The journey of `bowerbird bakeoff`: DATA and names of networks to a recommendation.

Decisions:
- Images are read, checked and split as for a training with the same settings; networks are
  made and images prepared as there, too. Test images are left alone.
- One time limit covers all of it but the drawing at the end.
- Stopped at any moment, the same command goes on: rounds that are over are in the folder,
  features in the cache.
- The folder holds one bake-off. That of other images or networks is replaced, which is said.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bowerbird import machine, progress
from bowerbird.config import (
    NetworkConfig,
    ReadConfig,
    Recipe,
    SplitConfig,
    TrainConfig,
    parse_duration,
    validated,
)
from bowerbird.config.base import Settings
from bowerbird.errors import ConfigError, Interrupted
from bowerbird.workflow.reading import read_and_split

if TYPE_CHECKING:
    from bowerbird.comparison.bakeoff import Bakeoff
    from bowerbird.comparison.contest import Contest, Limit
    from bowerbird.comparison.entering import Contestant
    from bowerbird.comparison.halving import Round
    from bowerbird.comparison.judging import Pool
    from bowerbird.comparison.sittings import Sitting
    from bowerbird.data.dataset import Dataset

__all__ = ["bakeoff"]


@dataclasses.dataclass(frozen=True)
class _Asked:
    """All that was asked for."""

    data: str
    models: str
    budget: str
    decide_on: str
    read: ReadConfig
    split: SplitConfig
    network: NetworkConfig
    device: str
    workers: int | None
    seed: int
    out: Path | None

    @property
    def again(self) -> str:
        """The command that repeats this bake-off, or goes on with it."""
        words = ["bowerbird", "bakeoff", self.data, "--models", self.models]
        words += ["--budget", self.budget, *self._shared()]
        for name, usual in (("decide_on", "auto"), ("seed", 0)):
            if (value := getattr(self, name)) != usual:
                words += [f"--{name.replace('_', '-')}", str(value)]
        words += ["--offline"] if self.network.offline else []
        words += ["--out", str(self.out)] if self.out not in (None, Path("bakeoff")) else []
        return shlex.join(words)

    def train(self, model: str, weights: str) -> str:
        """The command that trains a network on the same images."""
        words = ["bowerbird", "train", self.data, "--model", model]
        words += ["--weights", weights] if weights != "auto" else []
        return shlex.join(words + self._shared())

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        groups = {name: getattr(self, name) for name in ("read", "split", "network")}
        plain = {
            name: group.model_dump(mode="json", exclude_defaults=True)
            for name, group in groups.items()
        }
        names = ("data", "models", "budget", "decide_on", "device", "workers", "seed")
        return {name: getattr(self, name) for name in names} | plain

    def _shared(self) -> list[str]:
        """Options that a training on the same images needs, too."""
        options = _options(self.read) | _options(self.split)
        options |= {k: v for k, v in _options(self.network).items() if k != "offline"}
        options |= {"device": self.device} if self.device != "auto" else {}
        options |= {"workers": self.workers} if self.workers else {}
        words = []
        for name, value in options.items():
            words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
        return words


def bakeoff(
    data: str | Path,
    models: str | Sequence[str] = "auto",
    *,
    budget: str | float = "10m",
    decide_on: str = "auto",
    read: ReadConfig | None = None,
    split: SplitConfig | None = None,
    image_size: int | None = None,
    channels: int = 3,
    offline: bool = False,
    device: str = "auto",
    workers: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
) -> Bakeoff:
    """Find out under a time limit which network's frozen features suit some images best.

    Args:
        data: whatever `read_images` takes.
        models: names, separated by commas or one by one, see `candidates.asked_for`; ``auto``
            are those whose weights are on this machine.
        budget: time limit for all networks together, e.g. ``"10m"`` or seconds.
        decide_on: ``"left-out"``, ``"validation"``, or ``"auto"``: validation where it has 2,000
            images or more.
        read: of DATA.
        split: of DATA, as for a training.
        image_size: input size in pixels; by default each network's own.
        channels: of an input.
        offline: never ask the network for weights.
        device: ``"auto"``, ``"cpu"`` or a torch device.
        workers: threads; by default one per core.
        seed: of the order of the images, and of random weights.
        out: folder for table, figures, page and state; by default nothing is written.

    Raises:
        BowerbirdError: anything that a person can mend; see `errors`.
        Interrupted: stopped on request; the message has the command to go on.
    """
    plain = {"image_size": image_size, "channels": channels, "offline": offline}
    validated(TrainConfig, {"workers": workers, "seed": seed}, "the settings")
    asked = _Asked(
        str(data), models if isinstance(models, str) else ",".join(models), str(budget),
        decide_on, read or ReadConfig(), split or SplitConfig(),
        validated(NetworkConfig, plain, "the settings"), device, workers, seed,
        None if out is None else Path(out).expanduser(),
    )  # fmt: skip
    seconds = parse_duration(asked.budget)
    if seconds is None:
        raise ConfigError("A bake-off needs a time limit, e.g. --budget 10m.")
    machine.load("timm", "bowerbird.comparison.contest", "bowerbird.comparison.candidates")
    from bowerbird.comparison.contest import Limit

    with _stoppable(asked):
        found = _run(asked, Limit(seconds))
        if asked.out is not None:
            _write(found, asked.out)
    return found


@contextlib.contextmanager
def _stoppable(asked: _Asked) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        kept = "Stopped; what was computed is kept."
        raise Interrupted(f"{kept} Go on with: {asked.again}") from error


def _run(asked: _Asked, limit: Limit) -> Bakeoff:
    """From names to a result; nothing is drawn yet."""
    from bowerbird.comparison.bakeoff import Bakeoff
    from bowerbird.comparison.candidates import asked_for
    from bowerbird.comparison.contest import Contest
    from bowerbird.comparison.entering import enter
    from bowerbird.comparison.judging import pool_of
    from bowerbird.features import FeatureCache
    from bowerbird.features.extraction import chosen_device

    candidates, device = asked_for(asked.models), chosen_device(asked.device)
    recipe = Recipe(data=asked.data, read=asked.read, split=asked.split)
    dataset, parts, _ = read_and_split(recipe)
    _check_place(asked, dataset)
    pool = pool_of(dataset, parts, asked.decide_on, asked.seed)
    workers, cache = asked.workers or machine.cores(), FeatureCache()
    contestants, skipped = enter(
        candidates, asked.network, pool, seed=asked.seed, device=device, workers=workers,
        cache=cache,
    )  # fmt: skip
    sitting, contestants = _sitting(asked, pool, contestants, limit)
    contest = Contest(contestants, pool, limit, cache, workers)
    _hold(sitting, contest, asked.out)
    arms = tuple(c.arm for c in contestants if c.name in sitting.arms)
    found = Bakeoff(
        asked.data, dataset.classes, pool.way, arms, tuple(sitting.rounds),
        skipped | sitting.late, limit.seconds, sitting.seconds, _notes(sitting, contest),
        {"again": asked.again}, asked.to_dict(),
    )  # fmt: skip
    taken = found.recommended
    commands = {"train": asked.train(taken.model, taken.weights), "again": asked.again}
    notes = found.notes + found.cautions
    return dataclasses.replace(found, commands=commands, notes=notes)


def _check_place(asked: _Asked, dataset: Dataset) -> None:
    from bowerbird.data.scan import is_table
    from bowerbird.report.of_audit import check_place

    if asked.out is not None:
        listed = [sample.path for sample in dataset.samples] if is_table(asked.data) else ()
        check_place(asked.out, dataset.root, listed)


def _sitting(
    asked: _Asked, pool: Pool, contestants: list[Contestant], limit: Limit
) -> tuple[Sitting, list[Contestant]]:
    """What an earlier sitting has left, or a new one; and the networks, the cheapest first."""
    from bowerbird.comparison.sittings import STATE, Sitting, key_of

    key = key_of(pool, contestants, asked.seed)
    there = asked.out is not None and (asked.out / STATE).is_file()
    sitting = Sitting.read(asked.out, key)
    if sitting is None and there:
        progress.say(f"{asked.out} holds another bake-off; it is replaced.")
    if sitting is not None and sitting.late and limit.seconds > sitting.budget:
        sitting = None  # there may be time for all of them now, and features are in the cache
    if sitting is None:
        fresh = {c.name: c.arm.milliseconds for c in contestants}
        return Sitting(key, milliseconds=fresh), contestants
    if sitting.finished:
        progress.say(f"{asked.out} holds this bake-off, finished: nothing is computed again.")
    elif sitting.rounds:
        last = sitting.rounds[-1]
        progress.say(f"Going on after {last.images:,} of {last.of:,} images.")
    limit.add(sitting.seconds)
    for contestant in contestants:
        known = sitting.milliseconds.get(contestant.name, contestant.arm.milliseconds)
        contestant.arm = dataclasses.replace(contestant.arm, milliseconds=known)
    return sitting, sorted(contestants, key=lambda c: c.arm.milliseconds)


def _hold(sitting: Sitting, contest: Contest, folder: Path | None) -> None:
    """Run the rounds that are left, and keep each as soon as it is over."""
    from bowerbird.comparison.halving import race, sizes

    pool, limit = contest.pool, contest.limit
    rounds = sizes(len(pool), pool.classes)
    if sitting.finished:
        return
    contest.done = sitting.rounds[-1].images if sitting.rounds else 0
    if not sitting.rounds:
        sitting.arms, sitting.late = contest.within_reach(rounds[0])
        _tell_plan(sitting, contest, rounds)
    sitting.budget = limit.seconds
    try:
        for ended in race(sitting.arms, rounds, contest.judge, sitting.rounds):
            sitting.rounds.append(ended)
            sitting.seconds = limit.spent
            sitting.save(folder)
            _tell(ended)
    finally:
        sitting.seconds = limit.spent
        sitting.save(folder)
    if not sitting.rounds:
        raise contest.too_short()


def _tell_plan(sitting: Sitting, contest: Contest, rounds: Sequence[int]) -> None:
    seconds = contest.seconds(sitting.arms, len(contest.pool))
    for name, why in sitting.late.items():
        progress.say(f"Left out: {name}. {why}")
    progress.say(
        f"{len(sitting.arms)} networks, {len(contest.pool):,} images in {len(rounds)} "
        f"round{'s' * (len(rounds) != 1)}: "
        f"about {seconds:.0f} s if none is dropped; {max(0, contest.limit.left):.0f} s are left."
    )


def _tell(ended: Round) -> None:
    shares = ", ".join(f"{name} {share:.1%}" for name, share in ended.accuracy.items())
    progress.say(f"{ended.images:,} of {ended.of:,} images: {shares}.")
    for gone in ended.dropped:
        progress.say(f"  {gone.arm} is dropped, {100 * gone.behind:.1f} points behind {gone.best}.")


def _notes(sitting: Sitting, contest: Contest) -> tuple[str, ...]:
    from bowerbird.comparison.bakeoff import WAY_WORDS

    pool, last = contest.pool, sitting.rounds[-1]
    notes = [f"Decided on frozen features, {WAY_WORDS[pool.way]}.", "Test images were left alone."]
    if last.images < last.of:
        needed = contest.limit.spent + contest.seconds(last.kept, last.of)
        notes.append(
            f"The time was enough for {last.images:,} of {last.of:,} images. The same command with "
            f"a budget of about {max(1, math.ceil(1.15 * needed / 60))}m goes on to all of them."
        )
    if contest.bad:
        images = "1 image" if len(contest.bad) == 1 else f"{len(contest.bad)} images"
        notes.append(f"{images} could not be read any more: no network was judged on them.")
    return tuple(notes)


def _write(found: Bakeoff, folder: Path) -> None:
    machine.load("bowerbird.plots.bakeoff", "bowerbird.report.of_bakeoff")
    from bowerbird.report.of_bakeoff import write_bakeoff

    write_bakeoff(found, folder)


def _options(settings: Settings) -> dict[str, Any]:
    """Settings that differ from their defaults."""
    return settings.model_dump(mode="json", exclude_defaults=True)
