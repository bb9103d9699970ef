"""Training from a split data set to a finished run: probe, fine-tune, choose, save.

`fit` reads from top to bottom as what happens. Each stage looks first for what an
interrupted run has left in ``state/`` and goes on from there, so `fit` and `resume` are
the same code.

Decisions:
- A head is learnt on cached features first; fine-tuning starts from it, so good
  features aren't thrown away by a random head (Kumar et al. 2022, arXiv:2202.10054).
- What is kept is chosen on validation, never on test.
- ``auto`` may end with the probe: more training is not always better.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from bowerbird import progress, storage
from bowerbird.config import Recipe, TrainConfig
from bowerbird.data.dataset import Dataset
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import ConfigError, DataError, Interrupted, ModelError, RunError
from bowerbird.features import FeatureCache, Features
from bowerbird.features.extraction import Extractor, chosen_device
from bowerbird.machine import cores
from bowerbird.models.cuts import Traced, trace
from bowerbird.models.networks import Network, from_config, save_network
from bowerbird.runs import Run, create_run, load_run
from bowerbird.training import plan, probe, processes, settings, tuning
from bowerbird.training.batches import Part, features_of, part_of
from bowerbird.training.interrupts import StopSignal, listening
from bowerbird.training.logistic import Solution
from bowerbird.training.phases import PhasePlan, read_plan
from bowerbird.training.tuning import Tuner

__all__ = ["fit", "resume"]


def fit(
    network: Network | None,
    dataset: Dataset,
    split: Split,
    config: TrainConfig | None = None,
    *,
    out: str | Path | None = None,
    recipe: Recipe | None = None,
) -> Run:
    """Train on a split data set and leave a run's folder.

    Args:
        network: to start from; None makes the one that the settings name.
        dataset: the images.
        split: who is trained on, validated on, tested on.
        config: settings; by default those of `recipe`, or the defaults.
        out: folder of the run; by default a new one in ``runs/``.
        recipe: the settings of reading and splitting, to be kept with the run.

    Raises:
        DataError: there is nothing to train on or to validate on.
        Interrupted: stopped on request; the message says how to go on.
        RunError: the folder can't be used.
    """
    base = recipe or Recipe(data=str(dataset.root))
    full = base.model_copy(update={"train": config or base.train})
    _check_split(dataset, split, refit=full.train.refit)
    if network is not None and network.num_classes != len(dataset.classes):
        raise ModelError(
            f"The network scores {network.num_classes} classes, the data has "
            f"{len(dataset.classes)}. Make it with create_model(..., "
            f"num_classes={len(dataset.classes)})."
        )
    if network is not None:
        full = full.model_copy(
            update={"network": full.network.model_copy(update={"model": network.name})}
        )
    chosen_device(full.train.device)
    # before the folder is made, so that a typo leaves none behind
    made = network or from_config(full.network, len(dataset.classes), full.train.seed)
    settings.check_settings(made, full.train)
    run = _begun(full, dataset, split, None if out is None else Path(out), network)
    return _go_on(run, made if network is None else None)


def resume(run: Run) -> Run:
    """Go on with an interrupted run; a finished one comes back as it is.

    The result is the same, to the last bit, as if nothing had happened.

    Raises:
        RunError: its state is damaged.
        Interrupted: stopped again.
    """
    return run if run.finished else _go_on(run)


def _begun(
    recipe: Recipe, dataset: Dataset, split: Split, out: Path | None, network: Network | None
) -> Run:
    """The run's folder, whole even if someone asks to stop meanwhile."""

    def create() -> Run:
        run = create_run(recipe, dataset, split, out)
        if network is not None:
            save_network(network, run.state / "initial", dataset.classes)
        run.note_environment({"network_given": network is not None})
        return run

    with listening() as stop:
        try:
            with stop.deferred():
                run = processes.from_main(create)
        except Interrupted as error:
            raise _stopped(run) from error
    return run


def _go_on(run: Run, network: Network | None = None) -> Run:
    if "network_given" not in run.environment():  # written last, when all else is there
        raise RunError(
            f"The run {run.path} was stopped while its folder was being made. Nothing is lost: "
            "train again."
        )
    with contextlib.ExitStack() as held:
        held.enter_context(run.resumable())
        if processes.is_main():
            held.enter_context(run.locked())
            held.enter_context(progress.log_to(run.path / "log.txt"))
        processes.from_main(run.tidy)
        stop = held.enter_context(listening())
        try:
            _Training(run, stop, network).run_all()
        except (KeyboardInterrupt, Interrupted) as error:
            raise _stopped(run) from error
    return run


def _stopped(run: Run) -> Interrupted:
    return Interrupted(f"Stopped; everything is saved. Go on with: bowerbird resume {run.path}")


class _Training:
    """One training of a run, from wherever it stopped."""

    def __init__(self, run: Run, stop: StopSignal, network: Network | None = None) -> None:
        self.run, self.stop, self.config = run, stop, run.recipe.train
        dataset, split = run.manifest()
        self.train, self.val = part_of(dataset, split, "train"), part_of(dataset, split, "val")
        self.network = network or self._initial()
        self.traced: Traced | None = trace(self.network.module)  # as it begins
        self.probed = settings.starts_from_probe(self.network, self.config, self.traced)
        self.precision = run.environment().get("forward_precision", self.config.precision)
        self.cache = FeatureCache()
        self.workers = self.config.workers or cores()
        self.rows: list[dict[str, Any]] = []
        self.tuned: list[dict[str, Any]] = []
        self.kept: list[int] = []

    def run_all(self) -> None:
        """Probe, fine-tune, choose, save."""
        began = time.monotonic()
        probed = self._probe() if self.probed else None
        tuned = self._finetune(probed)
        chosen = self._choose(probed, tuned)
        if self.config.refit:
            self._refit(probed, chosen)
        if processes.is_main():
            self._finish(chosen, time.monotonic() - began)
        processes.wait()

    def _finish(self, chosen: str, lasted: float) -> None:
        if chosen == "finetune":
            marked = [{**row, "chosen": int(row["epoch"] in self.kept)} for row in self.tuned]
            self._report(marked)
        earlier = self.run.environment().get("seconds_training", 0.0)
        self.run.note_environment(
            {
                "seconds_training": round(earlier + lasted, 1),
                "chosen": chosen,
                "network": self.network.to_dict(),
                "parameters_learned": self._learned(chosen),
                "processes": processes.count(),
            }
        )
        save_network(self.network, self.run.path / "model", self.run.classes)

    def _learned(self, chosen: str) -> int:
        """Parameters that were learnt: the classifier's, or those of the phases that were kept."""
        traced = trace(self.network.module)
        if chosen == "probe":
            head = traced.suffix(traced.before_classifier())
            return sum(p.numel() for p in head.parameters())
        planned = read_plan(self.run.state / "plan.json")
        phases = tuning.as_chosen(planned, self.run.state)
        if not phases and self.probed:
            return self._learned("probe")
        learned: dict[int, int] = {}
        for phase in phases:
            for number in range(phase.step_at((phase.stop_after or phase.epochs) - 1) + 1):
                step = phase.steps[number]
                named = traced.suffix(step.cut).named_parameters()
                learned |= {id(p): p.numel() for n, p in named if n not in step.frozen}
        return sum(learned.values())

    def _probe(self) -> Solution:
        """The head on frozen features, now in the network."""
        extractor = self._first_extractor()
        views = self._features(extractor, self.train, self.config.views)
        val = self._features(extractor, self.val, 1)[0]
        solution = processes.from_main(
            lambda: probe.fit_probe(
                views, self.train.targets, (val, self.val.targets), self._classes(), self.config
            )
        )
        probe.put_into(self.network.module, solution.linear)
        rows = [{"phase": "probe", "step_name": "head", **row} for row in solution.rows]
        self.rows = rows
        self._report([])
        best = _chosen(solution)
        progress.say(
            f"Probe: {best['val_accuracy']:.1%} of {len(self.val.images)} validation images right "
            f"with a linear classifier on {extractor.shape[0]} frozen features."
        )
        if probe.all_alike(views[0]):
            if processes.is_main():
                self.run.note_environment({"features_alike": True})
            progress.say(probe.words_on_alike(self.config, surgery=bool(self.network.surgery)))
        return solution

    def _finetune(self, probed: Solution | None) -> tuple[float, float] | None:
        """Train layers within the budget; returns accuracy and loss on validation."""
        if self.config.method == "probe":
            return None
        if probed is not None:
            wrong = round((1 - _chosen(probed)["val_accuracy"]) * len(self.val.images))
            worth, why = plan.worth_tuning(wrong, len(self.val.images))
            if self.config.method == "auto":
                progress.say(why)
            if self.config.method == "auto" and not worth:
                return None
        else:
            self._first_extractor()
        tuner = self._tuner()
        phases = processes.from_main(lambda: self._plan(tuner))
        self.config = tuner.config = load_run(self.run.path).recipe.train
        if not phases and probed is None:
            raise ConfigError("The budget is too short to train anything. Give more, or --epochs.")
        if not phases:
            progress.say("The budget is too short for fine-tuning; the probe stays.")
            return None
        found = tuner.run(phases, self.train, self.val, self.run.state, self._report)
        self.kept = tuner.kept
        return found

    def _plan(self, tuner: Tuner) -> list[PhasePlan]:
        """The written plan, or a new one, written before it is followed."""
        file = self.run.state / "plan.json"
        if file.is_file():
            return read_plan(file)
        budget, images = self.config.budget_seconds, self.train.images
        if self.config.batch_size == "auto":
            size = plan.fitting_batch(tuner, images, self.config)
            progress.say(f"Batches of {size} images fit the memory.")
            self.config = self.config.model_copy(update={"batch_size": size})
        phases = plan.make_plan(tuner, images, self.config, budget, probed=self.probed)
        self._keep_resolved(plan.resolved(phases, self.config))
        storage.write_json(file, [phase.to_dict() for phase in phases])
        lasting = sum(phase.seconds for phase in phases)
        words = "; ".join(_described(phase) for phase in phases)
        if words:
            progress.say(
                f"Training, about {lasting:.0f} s; {plan.budget_words(self.config)}: {words}."
            )
        return phases

    def _keep_resolved(self, found: dict[str, Any]) -> None:
        """Write what was measured into ``config.toml``, which then repeats the run."""
        train = self.config.model_copy(update=found)
        text = self.run.recipe.model_copy(update={"train": train}).to_toml()
        storage.write_text(self.run.path / "config.toml", text)

    def _first_extractor(self) -> Extractor:
        """The frozen part; forward passes keep the precision measured here to the run's end."""
        made = self._extractor(self.traced) if processes.is_main() else None
        self.precision = processes.from_main(lambda: made.precision if made else "")
        if processes.is_main():
            self.run.note_environment({"forward_precision": self.precision})
        made = made or self._extractor(self.traced)
        self.traced = None
        return made

    def _choose(self, probed: Solution | None, tuned: tuple[float, float] | None) -> str:
        """Keep what is better on validation; the network then holds it."""
        if probed is None:
            if tuned is not None:
                progress.say(f"Trained: {tuned[0]:.1%} on validation.")
            return "finetune"
        if tuned is None:
            return "probe"
        row = _chosen(probed)
        before, after = (row["val_accuracy"], -row["val_loss"]), (tuned[0], -tuned[1])
        better = self.config.method != "auto" or after[0] > before[0]
        if better and self.kept:
            progress.say(f"Fine-tuned: {after[0]:.1%} on validation, the probe {before[0]:.1%}.")
            return "finetune"
        self.network = self._initial()
        probe.put_into(self.network.module, probed.linear)
        epochs = [row["val_accuracy"] for row in self.tuned if "val_accuracy" in row]
        reached = f"reached {max(epochs):.1%} on validation" if epochs else "ended no epoch"
        progress.say(
            f"Fine-tuning {reached}, no better than the probe's {before[0]:.1%}: the probe stays."
        )
        return "probe"

    def _refit(self, probed: Solution | None, chosen: str) -> None:
        """Learn once more what was chosen, from training and validation images together."""
        both = self.train.joined(self.val)
        progress.say(f"Refit on all {len(both.images)} training and validation images.")
        self.network = self._initial()
        if probed is not None:
            views = self._features(self._extractor(), both, self.config.views)
            solution = processes.from_main(
                lambda: probe.fit_probe(
                    views, both.targets, None, self._classes(), self.config, probed.strength
                )
            )
            probe.put_into(self.network.module, solution.linear)
        if chosen == "finetune":
            phases = tuning.as_chosen(read_plan(self.run.state / "plan.json"), self.run.state)
            folder = storage.make_folder(self.run.state / "refit")
            self._tuner().run(phases, both, None, folder, lambda rows: None)

    def _tuner(self) -> Tuner:
        return Tuner(
            self.network, self.config, self.cache, self.workers, self.stop, self._device(),
            precision=self.precision,
        )  # fmt: skip

    def _extractor(self, traced: Traced | None = None) -> Extractor:
        return Extractor(
            self.network, precision=self.precision, device=self._device(), traced=traced
        )

    def _report(self, rows: list[dict[str, Any]]) -> None:
        """Write the history: the probe's rows, and those of the epochs so far."""
        self.tuned = rows
        if processes.is_main():
            self.run.write_history(self.rows + rows)

    def _features(self, extractor: Extractor, part: Part, views: int) -> list[Features]:
        return features_of(extractor, part, views, cache=self.cache, workers=self.workers)

    def _classes(self) -> int:
        return len(self.run.classes)

    def _device(self) -> str:
        return processes.device(chosen_device(self.config.device))

    def _initial(self) -> Network:
        """The network as it is before training."""
        return self.run.initial_network()


def _check_split(dataset: Dataset, split: Split, *, refit: bool) -> None:
    if len(dataset.classes) < 2:
        raise DataError(
            f"Training needs at least two classes; found {len(dataset.classes)}: "
            f"{', '.join(dataset.classes) or 'none'}."
        )
    for name, words in (("train", "training"), ("val", "validation")):
        if len(split.indices(name)) == 0:
            raise DataError(f"There are no {words} images. Set the shares with --val and --test.")
    if refit and len(split.indices("test")) == 0:
        raise ConfigError(
            "--refit learns from the validation images, too, so only test images could give an "
            "honest score, and there are none. Hold some out with --test, or leave out --refit."
        )


def _chosen(solution: Solution) -> dict[str, Any]:
    return next(row for row in solution.rows if row["chosen"])


def _described(phase: PhasePlan) -> str:
    words = "; ".join(f"{step.name} ({step.source}) from epoch {step.epoch + 1} on"
                      for step in phase.later)  # fmt: skip
    epochs = "1 epoch" if phase.epochs == 1 else f"{phase.epochs} epochs"
    first = f"{epochs} {phase.name} ({phase.source})"
    return f"{first}, {words}" if words else first
