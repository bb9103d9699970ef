"""The journey of an ablation: every arm trained with every seed, compared, written down.

Decisions:
- An arm with a seed is an ordinary run in ``OUT/runs``. Images are read and split once, for
  all of them; the split stays as it is, the seed of the training is what varies.
- Seed by seed, not arm by arm: after each seed there is a whole table, and what the machine
  does meanwhile falls on all arms alike.
- The budget is a number of epochs unless a time is asked for: with a time limit arms differ in
  how far they get, which is said.
- Test images stay locked in all runs; at the end the winner alone may be scored on them.
- What is asked of every run is written down first (``arms.json``). The same command goes on
  after an interrupt: finished runs are kept, an interrupted one is resumed, more seeds or
  values may be added. Other settings are refused.
- A run that fails is named and the rest goes on; a full disk stops everything.
- Of finished runs what only resuming needs is deleted: with many arms it would be most of
  the disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bowerbird import machine, progress, storage
from bowerbird.comparison.ablation import Ablation, Failure, Outcome
from bowerbird.comparison.arms import Arm, Kind
from bowerbird.comparison.weighing import weigh
from bowerbird.config import Recipe
from bowerbird.data.splitting.notes import plural
from bowerbird.errors import BowerbirdError, ConfigError, DataError, Interrupted, RunError
from bowerbird.runs import Run, load_run
from bowerbird.workflow import training
from bowerbird.workflow.ablation_asked import (
    arms_of,
    check_different,
    on_epochs,
    on_reach,
    read_asked,
    ready,
    usual_seeds,
)
from bowerbird.workflow.asked import check_same
from bowerbird.workflow.reading import read_and_split

if TYPE_CHECKING:
    from bowerbird.data.dataset import Dataset
    from bowerbird.data.splitting.splits import Split

__all__ = ["ablate"]


def ablate(
    recipe: Recipe,
    out: str | Path = "ablation",
    *,
    ladder: Sequence[str] | None = None,
    leave_one_out: Sequence[str] | None = None,
    vary: Sequence[str] = (),
    grid: bool = False,
    seeds: int | None = None,
    test_winner: bool = False,
    winner: str | Path | None = None,
) -> Ablation:
    """Train arms that differ in one thing, with the same seeds, images and budget; compare them.

    Without `ladder`, `leave_one_out` and `vary` the usual ladder of augmentations is climbed.

    Args:
        recipe: all other settings; `recipe.data` names the images.
        out: folder of the runs and of what is found; the same call goes on in it.
        ladder: augmentations to add one at a time, see `comparison.arms.ladder_arms`.
        leave_one_out: augmentations to leave out in turn; empty takes those of the recipe.
        vary: settings and values, e.g. ``["lr=1e-3,3e-4", "head=none,512"]``; the first value
            of each is the base's.
        grid: all combinations of what is varied, rather than one at a time.
        seeds: trainings per arm; by default 3, or 1 where every arm is a probe.
        test_winner: score the winner on the test images at the end.
        winner: file for the winner's recipe, beside ``winner.toml`` in `out`.

    Raises:
        ConfigError: a setting or value is unknown or makes no sense here; nothing was trained.
        Interrupted: stopped on request; the same call goes on.
        RunError: `out` holds something else, or every run failed.
        BowerbirdError: anything else that a person can mend; see `errors`.
    """
    kind, arms = arms_of(recipe, ladder, leave_one_out, vary, grid)
    asked, notes = ready(recipe, arms)
    check_different(arms, asked)
    number = seeds if seeds is not None else usual_seeds(arms, asked, notes)
    if number < 1:
        raise ConfigError(f"--seeds {number}: at least one training per arm is needed.")
    copy = None if winner is None else Path(winner).expanduser().absolute()
    if copy is not None and copy.is_dir():
        raise ConfigError(f"--recipe {winner} is a folder. Name a file, e.g. winner.toml.")
    folder = _own_folder(Path(out))
    with _alone(folder), progress.log_to(folder / "log.txt"):
        dataset, parts, resolved = read_and_split(asked)
        machine.load("bowerbird.training", "timm", "bowerbird.report.of_run")
        _check_images(parts, test=test_winner)
        journey = _Journey(kind, arms, resolved, range(number), folder, notes)
        journey.check(len(dataset.classes))
        journey.write_down()
        found = journey.go(dataset, parts, recipe.split.lock_test, test=test_winner)
        if copy is not None:
            storage.make_folder(copy.parent)
            storage.write_bytes(copy, (folder / "winner.toml").read_bytes())
        return found


class _Journey:
    """All runs of one ablation."""

    def __init__(
        self,
        kind: Kind,
        arms: Sequence[Arm],
        recipe: Recipe,
        seeds: range,
        folder: Path,
        notes: Sequence[str],
    ) -> None:
        self.kind, self.arms, self.recipe, self.folder = kind, arms, recipe, folder
        self.seeds = [recipe.train.seed + number for number in seeds]
        self.notes = list(notes)
        self.outcomes: list[Outcome] = []
        self.failures: list[Failure] = []
        self.lasting: list[float] = []

    def check(self, classes: int) -> None:
        """Make every network, and refuse what it can't do, before anything is trained."""
        from bowerbird.models.networks import from_config
        from bowerbird.training.settings import check_settings

        made, network = "", None
        recipes = [(arm, arm.apply(self.recipe)) for arm in self.arms]
        for arm, recipe in sorted(recipes, key=lambda pair: pair[1].network.model_dump_json()):
            wanted = recipe.network.model_dump_json()
            try:
                if network is None or wanted != made:
                    network = from_config(recipe.network, classes, self.seeds[0])
                    made = wanted
                check_settings(network, recipe.train)
            except BowerbirdError as error:
                raise type(error)(f"The arm {arm.name} can't be trained. {error}") from error

    def write_down(self) -> None:
        """``arms.json``: what is asked of every run; refuse another ablation's folder."""
        file, base = self.folder / "arms.json", self._asked(self.arms[0], self.seeds[0])
        runs = {
            self._place(arm, seed).name: self._asked(arm, seed)
            for seed in self.seeds
            for arm in self.arms
        }
        before = read_asked(file)
        if before:
            old, new = {"kind": before["kind"]} | before["base"], {"kind": self.kind} | base
            check_same(str(self.folder), old, new, "ablation")
            for name, asked in runs.items():
                known = before["runs"].get(name, asked)
                check_same(str(self.folder), known, asked, "ablation", f" {name}")
        known = before.get("runs", {}) | runs
        storage.write_json(file, {"kind": self.kind, "base": base, "runs": known})

    def go(self, dataset: Dataset, parts: Split, locked: bool, *, test: bool) -> Ablation:
        """Train what isn't trained yet, seed by seed, and write the result after each."""
        dataset, parts = self._frozen(dataset, parts)
        total = len(self.seeds) * len(self.arms)
        progress.say(
            f"{len(self.arms)} arms × {plural(len(self.seeds), 'seed')} = {total} runs, in "
            f"{self.folder / 'runs'}"
        )
        try:
            for seed in self.seeds:
                for arm in self.arms:
                    self._run(arm, seed, dataset, parts, total)
                found = self._written(locked)
            return self._tested(found, locked) if test else found
        except (Interrupted, KeyboardInterrupt) as error:
            raise Interrupted(
                f"Stopped; everything is saved, {len(self.outcomes)} of {total} runs are done. "
                "The same command goes on."
            ) from error

    def _run(self, arm: Arm, seed: int, dataset: Dataset, parts: Split, total: int) -> None:
        """One arm with one seed; a failure is kept and told."""
        folder = self._place(arm, seed)
        number = len(self.outcomes) + len(self.failures) + 1
        note = self.folder / "failures" / f"{folder.name}.txt"
        began, fresh = time.monotonic(), not (folder / "report.html").is_file()
        if fresh:
            progress.say(f"Run {number} of {total}: {arm.name}, seed {seed}{self._left(total)}")
        try:
            recipe = Recipe.model_validate(self._asked(arm, seed))
            self.outcomes.append(_outcome(arm, seed, _trained(folder, recipe, dataset, parts)))
        except Interrupted:
            raise
        except Exception as error:
            if storage.is_full(error):
                raise
            known = isinstance(error, BowerbirdError)
            reason = str(error) if known else f"{type(error).__name__}: {error}"
            self.failures.append(Failure(arm.name, seed, reason))
            storage.make_folder(note.parent)
            storage.write_text(note, traceback.format_exc())
            progress.say(f"{arm.name}, seed {seed} failed: {reason} The rest goes on.")
            return
        note.unlink(missing_ok=True)
        if fresh:
            self.lasting.append(time.monotonic() - began)

    def _left(self, total: int) -> str:
        from bowerbird.report.content import duration

        if not self.lasting:
            return ""
        left = total - len(self.outcomes) - len(self.failures)
        return f"; about {duration(left * sum(self.lasting) / len(self.lasting))} left"

    def _asked(self, arm: Arm, seed: int) -> dict[str, Any]:
        """The recipe of a run, as plain values."""
        recipe = arm.apply(self.recipe)
        train = recipe.train.model_copy(update={"seed": seed})
        return recipe.model_copy(update={"train": train}).model_dump(mode="json")

    def _place(self, arm: Arm, seed: int) -> Path:
        return self.folder / "runs" / f"{arm.slug}-{seed}"

    def _frozen(self, dataset: Dataset, parts: Split) -> tuple[Dataset, Split]:
        """The split of a run that is there already, so that all have the same."""
        for seed in self.seeds:
            for arm in self.arms:
                if training.begun(self._place(arm, seed)):
                    before, frozen = load_run(self._place(arm, seed)).manifest()
                    if (frozen.assignment, frozen.hashes) != (parts.assignment, parts.hashes):
                        progress.say(
                            "The images or their split have changed since this ablation began; "
                            "it goes on with those that it began with."
                        )
                    return before, frozen
        return dataset, parts

    def _written(self, locked: bool) -> Ablation:
        """What is known so far, in all its files."""
        if not self.outcomes:
            raise RunError(
                f"Every run failed. The first, {self.failures[0].arm}, with: "
                f"{self.failures[0].reason} More in {self.folder / 'failures'}."
            )
        settings = {"recipe": self._asked(self.arms[0], self.seeds[0]), "folder": str(self.folder)}
        late = [*on_epochs(self.recipe, self.outcomes), *on_reach(self.outcomes)]
        found = weigh(
            self.kind, self.arms, self.outcomes, failures=self.failures,
            notes=[*self.notes, *late], settings=settings,
        )  # fmt: skip
        self._write(found, locked)
        return found

    def _write(self, found: Ablation, locked: bool) -> None:
        from bowerbird.report.of_ablation import write_ablation

        if found.winner:
            text = _winner_words(found) + self._winner(found, locked).to_toml()
            storage.write_text(self.folder / "winner.toml", text)
        write_ablation(found, self.folder)

    def _winner(self, found: Ablation, locked: bool) -> Recipe:
        """The recipe to train on with: the winner's settings, test images as they were asked."""
        arm = next(arm for arm in self.arms if arm.name == found.winner)
        recipe = arm.apply(self.recipe)
        split = recipe.split.model_copy(update={"lock_test": locked})
        return recipe.model_copy(update={"split": split})

    def _tested(self, found: Ablation, locked: bool) -> Ablation:
        """The winner's score on test, for its first seed: one look, and only one."""
        from bowerbird.evaluation.predict import evaluate, evaluation_of

        if found.winner is None:
            return found
        run = load_run(found[found.winner].outcomes[0].run)
        seen = (run.path / "predictions_test.csv").is_file()
        score = evaluation_of(run, "test") if seen else evaluate(run, "test")
        others = [
            outcome.run
            for result in found.results
            for outcome in result.outcomes
            if Path(outcome.run) != run.path
            and (Path(outcome.run) / "predictions_test.csv").is_file()
        ]
        notes = (*found.notes, *([_looked_before(others)] if others else []))
        tested = dataclasses.replace(found, test=score, notes=notes)
        self._write(tested, locked)
        return tested


def _looked_before(runs: Sequence[str | Path]) -> str:
    names = ", ".join(Path(run).name for run in runs)
    return (
        f"Scored on the test images before: {names}. The better of several scores on test is "
        "optimistic."
    )


def _own_folder(out: Path) -> Path:
    """The folder, which is new, empty, or an ablation's."""
    folder = out.expanduser().absolute()
    ours = {"log.txt", ".lock"}  # what is there when it was stopped at once
    other = folder.is_dir() and any(path.name not in ours for path in folder.iterdir())
    if folder.is_file() or (other and not (folder / "arms.json").is_file()):
        raise RunError(f"{out} exists already and holds no ablation. Choose another with --out.")
    return folder


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one process at a time works on an ablation."""
    from filelock import FileLock, Timeout

    fresh = not folder.is_dir()
    storage.make_folder(folder)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError(
            f"Another process is at work on {folder}. Wait until it has ended."
        ) from error
    except OSError as error:
        raise RunError(
            f"{folder} can't be written: {error.strerror}. Choose another with --out."
        ) from error
    try:
        yield
    finally:
        lock.release()
        if fresh and not (folder / "arms.json").is_file():  # refused: leave nothing behind
            shutil.rmtree(folder, ignore_errors=True)


def _check_images(parts: Split, *, test: bool) -> None:
    if not len(parts.indices("val")):
        raise DataError(
            "There are no validation images to judge arms on. Hold some out with --val 0.2."
        )
    if test and not len(parts.indices("test")):
        raise ConfigError("--test-winner: there are no test images. Hold some out with --test.")


def _trained(folder: Path, recipe: Recipe, dataset: Dataset, parts: Split) -> Run:
    """The run, trained and reported, from wherever it stopped."""
    from bowerbird.training import fit

    if not training.begun(folder):
        training.clear_beginning(folder)
        run = fit(None, dataset, parts, out=folder, recipe=recipe)
        training.finish(run)
    else:
        run = load_run(folder)
        if not (run.finished and (folder / "report.html").is_file()):
            run, _ = training.resume(run)
    for file in run.state.glob("*.safetensors"):
        file.unlink()
    return load_run(folder)


def _outcome(arm: Arm, seed: int, run: Run) -> Outcome:
    from bowerbird.evaluation.predict import evaluation_of

    score = evaluation_of(run, "val")
    if score.predictions is None:
        raise RunError(f"{run.path} holds no predictions. Delete the folder to train it again.")
    epochs = sum(row["phase"] != "probe" for row in run.history())
    seconds = float(run.environment().get("seconds_training", 0.0))
    return Outcome(
        arm.name, seed, str(run.path), score.predictions.paths, score.predictions.correct,
        score.log_loss, seconds, epochs, _reached(run), _beaten(run),
    )  # fmt: skip


def _beaten(run: Run) -> float | None:
    """Accuracy of the best epoch, where all were worse than the probe they began from."""
    found = [float(row["val_accuracy"]) for row in run.history() if row["phase"] != "probe"]
    return max(found) if found and run.environment().get("chosen") == "probe" else None


def _reached(run: Run) -> bool:
    """Whether random changes of images, if there are any, had a part in what was kept."""
    from bowerbird.training.phases import read_plan

    plan = run.state / "plan.json"
    if run.recipe.train.augment == "none" or not plan.is_file():
        return True
    sources = [
        phase.steps[phase.step_at(epoch)].source
        for phase in read_plan(plan)
        for epoch in range(phase.stop_after or phase.epochs)
    ]
    kept = [int(row["epoch"]) for row in run.history() if row.get("chosen") and "epoch" in row]
    return any(sources[epoch - 1] == "images" for epoch in kept if epoch <= len(sources))


def _winner_words(found: Ablation) -> str:
    """The head of the winner's recipe."""
    lines = [found.why, *found.finding, "", "    bowerbird train DATA --config winner.toml", ""]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines) + "\n"
