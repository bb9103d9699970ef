"""What each arm of an ablation does against the base, and which arm to take.

Decisions:
- Arms are judged on validation images. Test images choose nothing.
- Every change is a `crossed_difference`: what images and seeds leave open is in its interval.
  Arms with a seed that failed are compared on the seeds that both have, and all on the images
  that every run could read.
- P values are corrected after Holm over all changes against the base, and by themselves over
  all steps of a ladder.
- The winner is the arm with the best mean, unless a simpler one is within one standard error
  of the paired difference: the one-standard-error rule (L. Breiman et al., "Classification and
  regression trees", 1984, there with the error of the best score itself). Simpler means fewer
  random changes, or fewer settings that differ from the base. Arms that lack a seed don't win.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from bowerbird.comparison.ablation import Ablation, ArmResult, Change, Failure, Outcome
from bowerbird.comparison.arms import Arm, Kind
from bowerbird.comparison.crossed import CrossedDifference, crossed_difference
from bowerbird.comparison.significance import holm
from bowerbird.errors import DataError

__all__ = ["weigh"]


def weigh(
    kind: Kind,
    arms: Sequence[Arm],
    outcomes: Sequence[Outcome],
    *,
    failures: Sequence[Failure] = (),
    notes: Sequence[str] = (),
    settings: dict[str, Any] | None = None,
) -> Ablation:
    """Compare arms with the first of them, and choose.

    Args:
        kind: what kind of ablation.
        arms: the base first.
        outcomes: of all runs that came to an end.
        failures: the other runs.
        notes: sentences to keep with the result.
        settings: for the record.

    Raises:
        DataError: two runs have no validation image in common.
    """
    same, left_out = _on_common_images(outcomes)
    if left_out:
        lost = f"{left_out} validation image{'s' * (left_out != 1)}"
        notes = [*notes, f"Not every run could read {lost}; they are left out for all arms."]
    of_arm = {arm.name: [o for o in same if o.arm == arm.name] for arm in arms}
    results = [
        ArmResult(arm, tuple(sorted(of_arm[arm.name], key=lambda o: o.seed))) for arm in arms
    ]
    results = _with_changes(results)
    winner, why = _choose(results)
    seeds = tuple(sorted({o.seed for o in same} | {f.seed for f in failures}))
    images = len(same[0].paths) if same else 0
    return Ablation(
        kind, tuple(results), images, seeds, winner, why, tuple(failures), tuple(notes),
        settings or {},
    )  # fmt: skip


def _on_common_images(outcomes: Sequence[Outcome]) -> tuple[list[Outcome], int]:
    """The same outcomes on the images that all have, in one order, and how many are left out."""
    if not outcomes:
        return [], 0
    known = set.intersection(*(set(outcome.paths) for outcome in outcomes))
    if not known:
        raise DataError(
            "The arms were judged on different validation images; they can't be compared. Begin "
            "again with another --out."
        )
    paths = tuple(path for path in outcomes[0].paths if path in known)
    found = []
    for outcome in outcomes:
        place = {path: row for row, path in enumerate(outcome.paths)}
        rows = [place[path] for path in paths]
        found.append(dataclasses.replace(outcome, paths=paths, correct=outcome.correct[rows]))
    return found, max(len(outcome.paths) for outcome in outcomes) - len(paths)


def _with_changes(results: Sequence[ArmResult]) -> list[ArmResult]:
    named = {result.arm.name: result for result in results}
    changes = _corrected([(r, results[0]) for r in results[1:]])
    steps = _corrected([(r, named[r.arm.before]) for r in results[1:] if r.arm.before in named])
    return [
        dataclasses.replace(r, change=changes.get(r.arm.name), step=steps.get(r.arm.name))
        for r in results
    ]


def _corrected(pairs: Sequence[tuple[ArmResult, ArmResult]]) -> dict[str, Change]:
    """By arm, its change against the other; pairs without a seed in common are left out."""
    found = {
        one.arm.name: (other.arm.name, difference)
        for one, other in pairs
        if (difference := _difference(one, other)) is not None
    }
    p_values = holm([difference.p_value for _, difference in found.values()]) if found else ()
    return {
        name: Change(against, difference, p)
        for (name, (against, difference)), p in zip(found.items(), p_values, strict=True)
    }


def _difference(one: ArmResult, other: ArmResult) -> CrossedDifference | None:
    rows_one, rows_other = ({o.seed: o.correct for o in r.outcomes} for r in (one, other))
    common = [seed for seed in rows_one if seed in rows_other]
    if not common:
        return None
    return crossed_difference(
        np.stack([rows_one[seed] for seed in common]),
        np.stack([rows_other[seed] for seed in common]),
    )


def _choose(results: Sequence[ArmResult]) -> tuple[str | None, str]:
    """The arm to take, and why."""
    most = max(len(result.outcomes) for result in results)
    if most == 0:
        return None, "Every run failed."
    whole = [result for result in results if len(result.outcomes) == most]
    best = max(whole, key=lambda r: (round(r.accuracy, 9), -r.arm.parts, -r.log_loss))
    simpler = [r for r in whole if r.arm.parts < best.arm.parts and _within_noise(best, r)]
    score = f"{best.accuracy:.1%} on validation"
    if not simpler:
        equal = any(r is not best and r.accuracy >= best.accuracy for r in whole)
        words = f"{best.arm.name} is {'taken' if equal else 'best'}: {score}"
        return best.arm.name, f"{words}{', and none has a higher mean' if equal else ''}."
    taken = min(simpler, key=lambda r: (r.arm.parts, -r.accuracy))
    return taken.arm.name, (
        f"{best.arm.name} has the best mean ({score}), but {taken.arm.name} ({taken.accuracy:.1%}) "
        "is simpler and within one standard error of it: it is taken."
    )


def _within_noise(best: ArmResult, other: ArmResult) -> bool:
    found = _difference(best, other)
    return found is not None and found.value <= found.standard_error
