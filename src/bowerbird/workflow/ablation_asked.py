"""What an ablation needs before it can begin: arms, a recipe they share, a folder's book.

Decisions:
- Where nothing is said, every arm has the usual number of epochs, and three seeds.
- The method auto may leave fine-tuning out; arms that differ in how they fine-tune would then
  be the same, so that they are fine-tuned, which is said.
- Two arms that would be the same training are refused: one setting makes the other idle.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bowerbird.comparison.ablation import Outcome
from bowerbird.comparison.arms import Arm, Kind, ladder_arms, leave_one_out_arms, vary_arms
from bowerbird.config import Recipe
from bowerbird.errors import ConfigError, RunError
from bowerbird.workflow import training

__all__ = [
    "arms_of",
    "check_different",
    "on_epochs",
    "on_reach",
    "read_asked",
    "ready",
    "usual_seeds",
]

_EPOCHS, _SEEDS = 12, 3


def arms_of(
    recipe: Recipe,
    ladder: Sequence[str] | None,
    leave_one_out: Sequence[str] | None,
    vary: Sequence[str],
    grid: bool,
) -> tuple[Kind, tuple[Arm, ...]]:
    """What kind of ablation was asked for, and its arms.

    Raises:
        ConfigError: two kinds at once, or a name or value is wrong.
    """
    chosen = [ladder is not None, leave_one_out is not None, bool(vary)]
    if sum(chosen) > 1:
        raise ConfigError("Choose one: --ladder, --leave-one-out or --vary.")
    if grid and not vary:
        raise ConfigError("--grid combines what is varied. Say what: --vary lr=1e-3,3e-4")
    if vary:
        return "vary", vary_arms(vary, recipe, grid=grid)
    if leave_one_out is not None:
        return "leave-one-out", leave_one_out_arms(leave_one_out or [recipe.train.augment])
    return "ladder", ladder_arms(ladder or ())


def ready(recipe: Recipe, arms: Sequence[Arm]) -> tuple[Recipe, list[str]]:
    """The recipe that all arms share, and sentences on what was set because nobody had.

    Raises:
        ConfigError: it can't be ablated.
    """
    if recipe.train.refit:
        raise ConfigError(
            "With --refit the models learn from the validation images that arms are judged on. "
            "Leave it out here; the winner's recipe may have it."
        )
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ConfigError("An ablation runs in one process; start it without torchrun.")
    varied = {name.partition(".")[2] for arm in arms for name in arm.settings}
    train, notes = recipe.train, []
    of_tuning = training.idle_settings(train.model_copy(update={"method": "probe"}))
    if train.method == "auto" and "method" not in varied and varied & of_tuning:
        train = train.model_copy(update={"method": "finetune"})
        notes.append("Every arm is fine-tuned (--method finetune), where auto might leave it out.")
    fixed = train.epochs or train.budget or train.unfreeze
    if train.method != "probe" and not fixed and not varied & {"epochs", "budget", "unfreeze"}:
        train = train.model_copy(update={"epochs": _EPOCHS})
        notes.append(f"Every arm has {_EPOCHS} epochs, the usual number (--epochs).")
    split = recipe.split.model_copy(update={"lock_test": True})
    return recipe.model_copy(update={"train": train, "split": split}), notes


def check_different(arms: Sequence[Arm], recipe: Recipe) -> None:
    """Refuse arms that would be the same training twice.

    Raises:
        ConfigError: the two are named, and why.
    """
    seen: dict[str, str] = {}
    for arm in arms:
        values = arm.apply(recipe)
        idle = training.idle_settings(values.train)
        key = json.dumps(values.model_dump(mode="json", exclude={"train": idle}), sort_keys=True)
        if key in seen:
            raise ConfigError(_same_words(seen[key], arm, values, idle))
        seen[key] = arm.name


def _same_words(other: str, arm: Arm, recipe: Recipe, idle: set[str]) -> str:
    names = [name.partition(".")[2] for name in arm.settings]
    options = ", ".join(f"--{name.replace('_', '-')}" for name in names if name in idle)
    words = f"The arms {other!r} and {arm.name!r} would be the same training"
    if recipe.train.method == "probe":
        return (
            f"{words}: {options} is without effect with --method probe, which learns from a few "
            "views of each image (--views). Use --method finetune."
        )
    return f"{words}: {options or 'their settings'} is without effect beside the other settings."


def usual_seeds(arms: Sequence[Arm], recipe: Recipe, notes: list[str]) -> int:
    """How many trainings per arm where nobody says; a sentence is added if it is one."""
    if any(arm.apply(recipe).train.method != "probe" for arm in arms):
        return _SEEDS
    notes.append("One seed per arm: there is no chance in a probe.")
    return 1


def read_asked(file: Path) -> dict[str, Any]:
    """``arms.json`` of an earlier call: kind, base and runs; or nothing.

    Raises:
        RunError: it is damaged.
    """
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {"kind": found["kind"], "base": dict(found["base"]), "runs": dict(found["runs"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file} is damaged ({error}). Begin again with another --out.") from error


def on_epochs(recipe: Recipe, outcomes: Sequence[Outcome]) -> list[str]:
    """What a time limit did to the number of epochs."""
    if not recipe.train.budget or recipe.train.epochs:
        return []
    fewest, most = (f(outcome.epochs for outcome in outcomes) for f in (min, max))
    if fewest == most:
        return []
    return [
        f"Under the time limit of {recipe.train.budget} runs made {fewest} to {most} epochs: "
        "part of a difference may be that. --epochs gives every arm the same number."
    ]


def on_reach(outcomes: Sequence[Outcome]) -> list[str]:
    """What it means that random changes had no part in what some runs kept."""
    early = sum(not outcome.reached for outcome in outcomes)
    if not early:
        return []
    return [
        f"In {early} of {len(outcomes)} runs validation preferred the probe, or an epoch that "
        "learns from cached views: random changes of images had no part in what was kept. Arms are "
        "alike for that, which is what would be used. --method plain learns from random changes "
        "alone."
    ]
