"""Fine-tuning a network in phases, each from a cut: made here, run by `loop.Phase`.

A phase's frozen part either runs once (enumerated views, from the cache) or for each
batch (random changes, from the images); validation always sees the plain view.

Each phase keeps files of its own (``last-1.safetensors``, ``best-1.safetensors``): a
resumed training walks through the phases again, finds the finished ones finished, and
goes on in the one that was not.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from bowerbird.config import TrainConfig
from bowerbird.features import FeatureCache, Image
from bowerbird.features.extraction import Extractor
from bowerbird.models.cuts import INPUT, trace
from bowerbird.models.networks import Network
from bowerbird.training import checkpoint as checkpoints
from bowerbird.training import optim, probe
from bowerbird.training.batches import Batches, CachedBatches, ImageBatches, Part, features_of
from bowerbird.training.interrupts import StopSignal
from bowerbird.training.keeping import Files
from bowerbird.training.loop import Phase, Piece, Truth
from bowerbird.training.phases import PhasePlan, Step

__all__ = ["Tuner", "as_chosen"]

Report = Callable[[list[dict[str, Any]]], None]


class Tuner:
    """A network ready to be fine-tuned.

    Args:
        network: with a head that has been learnt; its layers are changed in place.
        config: settings of training.
        cache: for activations of enumerated views.
        workers: threads that decode and run frozen parts.
        stop: asked after each step.
        device: of the training steps.
        precision: of frozen parts; by default as the settings say.

    Attributes:
        training: the network's trace in training mode.
        evaluation: the same in evaluation mode.
        kept: after `run`, the epochs whose layers the network holds; several are averaged.
    """

    def __init__(
        self,
        network: Network,
        config: TrainConfig,
        cache: FeatureCache,
        workers: int,
        stop: StopSignal,
        device: str,
        precision: str | None = None,
    ) -> None:
        self.precision = precision or config.precision
        self.network, self.config, self.cache = network, config, cache
        self.workers, self.stop, self.device = workers, stop, device
        module = network.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.kept: list[int] = []
        self.training = trace(module.train())
        self.evaluation = trace(module.eval())

    def run(
        self,
        phases: Sequence[PhasePlan],
        train: Part,
        val: Part | None,
        folder: Path,
        report: Report,
    ) -> tuple[float, float]:
        """Run all phases; the network then holds the best layers.

        Returns:
            Accuracy and loss on validation; zeros without validation.
        """
        facts: dict[str, Any] = {"rows": []}
        for number, phase in enumerate(phases, start=1):
            files = Files(
                folder / f"last-{number}.safetensors", folder / f"best-{number}.safetensors"
            )
            facts = self._phase(phase, train, val, files, report, facts)
            self.kept = _kept(facts) or self.kept
        self.network.module.requires_grad_(True)
        self.network.module.to("cpu").eval()
        best = facts.get("best", {"accuracy": 0.0, "loss": 0.0})
        return best["accuracy"], best["loss"]

    @contextlib.contextmanager
    def from_images(self, cut: str, images: Sequence[Image], level: str) -> Iterator[ImageBatches]:
        """Batches decoded anew, through the part frozen before `cut`."""
        prefix = self._frozen(cut)
        prefix.prepare()
        paths = [image.path for image in images]
        with ThreadPoolExecutor(self.workers) as pool:
            yield ImageBatches(paths, prefix, level=level, seed=self.config.seed, pool=pool)

    def _phase(
        self,
        plan: PhasePlan,
        train: Part,
        val: Part | None,
        files: Files,
        report: Report,
        before: dict[str, Any],
    ) -> dict[str, Any]:
        whole = self.training.suffix(plan.steps[-1].cut)
        decay = 1.0 if self.network.weights.kind == "none" else None
        optimizer = optim.make_optimizer(
            whole, self.training.stages, self.config, rate=plan.rate, layer_decay=decay
        )
        with contextlib.ExitStack() as opened:

            def piece(number: int) -> Piece:
                step = plan.steps[number]
                learner, judge = self.training.suffix(step.cut), self.evaluation.suffix(step.cut)
                batches = opened.enter_context(self._batches(step, train))
                held = opened.enter_context(self._held_out(step, val))
                return Piece(learner, judge, batches, held)

            phase = Phase(
                plan, piece, whole, optimizer, self._truth(train, val), self.config, files,
                self.stop, report,
            )  # fmt: skip
            saved = checkpoints.load_checkpoint(files.last)
            if saved is None:
                return phase.run(phase.start({"rows": before["rows"]}))
            phase.restore(saved)
            report(saved.facts["rows"])
            return phase.run(saved.facts)

    def _truth(self, train: Part, val: Part | None) -> Truth:
        classes, factors = self.network.num_classes, None
        if self.config.balance == "loss":
            factors = probe.class_weights(train.targets, classes, self.config)
        weights = None if factors is None else torch.from_numpy(factors).to(self.device)
        return Truth(train.targets, None if val is None else val.targets, classes, weights)

    @contextlib.contextmanager
    def _batches(self, step: Step, part: Part) -> Iterator[Batches]:
        if step.source == "cached":
            views = 1 if self.config.augment == "none" else self.config.views
            yield self._cached(step.cut, part, views)
            return
        with self.from_images(step.cut, part.images, self.config.augment) as batches:
            yield batches

    @contextlib.contextmanager
    def _held_out(self, step: Step, val: Part | None) -> Iterator[Batches | None]:
        if val is None:
            yield None
        elif step.cut == INPUT:  # pixels are not worth keeping
            with self.from_images(step.cut, val.images, "plain") as batches:
                yield batches
        else:
            yield self._cached(step.cut, val, 1)

    def _cached(self, cut: str, part: Part, views: int) -> CachedBatches:
        found = features_of(self._frozen(cut), part, views, cache=self.cache, workers=self.workers)
        return CachedBatches(found, self.config.seed)

    def _frozen(self, cut: str) -> Extractor:
        """The part before `cut`, ready to run."""
        return Extractor(
            self.network,
            cut,
            precision=self.precision,
            device=self.device,
            traced=self.evaluation,
        )


def as_chosen(phases: Sequence[PhasePlan], folder: Path) -> list[PhasePlan]:
    """The phases as far as validation chose them: each ends with its best epoch.

    A refit has no validation of its own; it repeats what was chosen, with the same
    schedule. A phase that made nothing better is left out.
    """
    chosen = []
    for number, phase in enumerate(phases, start=1):
        saved = checkpoints.load_checkpoint(folder / f"last-{number}.safetensors")
        if saved is None:
            continue
        best = saved.facts["best"]
        soup, losses = tuple(best.get("soup", ())), tuple(saved.facts["losses"])
        last = max([best["within"], *soup])
        if last:
            chosen.append(dataclasses.replace(phase, stop_after=last, soup=soup, losses=losses))
    return chosen


def _kept(facts: dict[str, Any]) -> list[int]:
    """Epochs of the training whose layers a phase has kept; none if it made nothing better."""
    best = facts["best"]
    within = best.get("soup") or ([best["within"]] if best["within"] else [])
    before = sum(row["phase"] == "finetune" for row in facts["rows"]) - facts["epoch"]
    return [before + int(number) for number in within]
