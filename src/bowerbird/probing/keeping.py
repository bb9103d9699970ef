"""Puts an estimator that a probe has fitted into the run it was fitted for; see `evaluation.kept`.

What is kept is the very one that the probe has scored, with what it needs to see of an image.
"""

from __future__ import annotations

from collections.abc import Sequence

from bowerbird.config import Preprocess
from bowerbird.errors import ConfigError
from bowerbird.evaluation.kept import KeptEstimator, keep_estimator
from bowerbird.probing.estimators import ESTIMATORS, kind_of
from bowerbird.probing.results import Probe
from bowerbird.runs import Run

__all__ = ["check_kept", "keep"]


def check_kept(names: Sequence[str]) -> None:
    """Refuse, before any work, estimators that can't be kept.

    Raises:
        ConfigError: there is no such estimator, or it isn't scikit-learn's.
    """
    for name in names:
        kind_of(name)
        if name not in ESTIMATORS and not name.startswith("sklearn."):
            raise ConfigError(
                f"{name} can be probed, but not kept: only scikit-learn's own estimators are "
                f"read again without running what a file says. Keep one of {', '.join(ESTIMATORS)},"
                " or sklearn.MODULE:CLASS."
            )


def keep(run: Run, probed: Probe, name: str, preprocess: Preprocess) -> KeptEstimator:
    """Keep an estimator in a run; one of the same name is replaced.

    Args:
        run: that was probed.
        probed: what came of it.
        name: of one of the estimators in `probed.fitted`.
        preprocess: how an image becomes the input of the run's network.

    Raises:
        ConfigError: an estimator of this kind can't be kept.
        RunError: the folder can't be written.
    """
    table, score = probed.table, next(score for score in probed.scores if score.name == name)
    return keep_estimator(
        run,
        probed.fitted[name],
        table.values[table.rows("train")],
        None if len(table.numbers) == table.width else table.numbers,
        name=name,
        layer=table.layer,
        precision=table.precision,
        preprocess=preprocess,
        evaluations=score.evaluations,
    )
