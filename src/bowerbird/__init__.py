"""Bowerbird: from a folder of labelled images to an honest, explained classifier.

>>> import bowerbird as bb
>>> {"read_images", "split", "train", "apply_fixes"} <= set(bb.__all__)
True

Names are loaded when they are first used, so importing this package is instant and
doesn't import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bowerbird.auditing import Audit, audit
    from bowerbird.auditing.applying import Fixed, apply_fixes
    from bowerbird.comparison.ablation import Ablation
    from bowerbird.comparison.bakeoff import Bakeoff
    from bowerbird.comparison.leaderboard import Leaderboard
    from bowerbird.config import (
        ExpandConfig,
        NetworkConfig,
        Preprocess,
        ReadConfig,
        Recipe,
        SplitConfig,
        TrainConfig,
    )
    from bowerbird.data.augmenting.expand import Expansion, expand
    from bowerbird.data.augmenting.preview import Preview, preview
    from bowerbird.data.dataset import Dataset, Problem, Sample
    from bowerbird.data.sources import read_images
    from bowerbird.data.splitting.groups import group_by
    from bowerbird.data.splitting.splits import Split, folds, split
    from bowerbird.data.views import View
    from bowerbird.errors import (
        BowerbirdError,
        CacheError,
        ConfigError,
        DataError,
        ImageError,
        Interrupted,
        ModelError,
        RunError,
        WeightsError,
    )
    from bowerbird.evaluation.kept import KeptEstimator, kept_estimators
    from bowerbird.evaluation.metrics import score
    from bowerbird.evaluation.predict import evaluate, predict
    from bowerbird.evaluation.results import Confusion, Evaluation, Predictions
    from bowerbird.explanation.attribution import attribute
    from bowerbird.explanation.faithfulness import Faithfulness
    from bowerbird.explanation.of_run import explain
    from bowerbird.explanation.results import Attribution
    from bowerbird.features import FeatureCache, Features, extract
    from bowerbird.models.networks import Network, create_model
    from bowerbird.models.summary import ModelSummary, summarise
    from bowerbird.probing.results import Probe
    from bowerbird.report.of_audit import write_audit
    from bowerbird.report.of_run import write_report
    from bowerbird.runs import Run, load_run
    from bowerbird.training.fit import fit, resume
    from bowerbird.training.rates import RateCurve, find_rate
    from bowerbird.workflow import demo, train
    from bowerbird.workflow.ablating import ablate
    from bowerbird.workflow.bakeoffs import bakeoff
    from bowerbird.workflow.comparing import leaderboard
    from bowerbird.workflow.diagnosing import diagnose
    from bowerbird.workflow.folds import CrossValidation, cross_validate
    from bowerbird.workflow.probing import probe

_HOMES = {
    "auditing": ("Audit", "audit"),
    "auditing.applying": ("Fixed", "apply_fixes"),
    "comparison.ablation": ("Ablation",),
    "comparison.bakeoff": ("Bakeoff",),
    "comparison.leaderboard": ("Leaderboard",),
    "config": (
        "ExpandConfig",
        "NetworkConfig",
        "Preprocess",
        "ReadConfig",
        "Recipe",
        "SplitConfig",
        "TrainConfig",
    ),
    "data.dataset": ("Dataset", "Problem", "Sample"),
    "data.augmenting.expand": ("Expansion", "expand"),
    "data.augmenting.preview": ("Preview", "preview"),
    "data.sources": ("read_images",),
    "data.splitting.groups": ("group_by",),
    "data.splitting.splits": ("Split", "folds", "split"),
    "data.views": ("View",),
    "errors": (
        "BowerbirdError",
        "CacheError",
        "ConfigError",
        "DataError",
        "ImageError",
        "Interrupted",
        "ModelError",
        "RunError",
        "WeightsError",
    ),
    "evaluation.kept": ("KeptEstimator", "kept_estimators"),
    "evaluation.metrics": ("score",),
    "evaluation.predict": ("evaluate", "predict"),
    "evaluation.results": ("Confusion", "Evaluation", "Predictions"),
    "explanation.attribution": ("attribute",),
    "explanation.faithfulness": ("Faithfulness",),
    "explanation.of_run": ("explain",),
    "explanation.results": ("Attribution",),
    "features": ("FeatureCache", "Features", "extract"),
    "models.networks": ("Network", "create_model"),
    "models.summary": ("ModelSummary", "summarise"),
    "probing.results": ("Probe",),
    "report.of_audit": ("write_audit",),
    "report.of_run": ("write_report",),
    "runs": ("Run", "load_run"),
    "training.fit": ("fit", "resume"),
    "training.rates": ("RateCurve", "find_rate"),
    "workflow.folds": ("CrossValidation", "cross_validate"),
    "workflow": ("demo", "train"),
    "workflow.diagnosing": ("diagnose",),
    "workflow.ablating": ("ablate",),
    "workflow.bakeoffs": ("bakeoff",),
    "workflow.comparing": ("leaderboard",),
    "workflow.probing": ("probe",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Ablation",
    "Attribution",
    "Audit",
    "Bakeoff",
    "BowerbirdError",
    "CacheError",
    "ConfigError",
    "Confusion",
    "CrossValidation",
    "DataError",
    "Dataset",
    "Evaluation",
    "ExpandConfig",
    "Expansion",
    "Faithfulness",
    "FeatureCache",
    "Features",
    "Fixed",
    "ImageError",
    "Interrupted",
    "KeptEstimator",
    "Leaderboard",
    "ModelError",
    "ModelSummary",
    "Network",
    "NetworkConfig",
    "Predictions",
    "Preprocess",
    "Preview",
    "Probe",
    "Problem",
    "RateCurve",
    "ReadConfig",
    "Recipe",
    "Run",
    "RunError",
    "Sample",
    "Split",
    "SplitConfig",
    "TrainConfig",
    "View",
    "WeightsError",
    "ablate",
    "apply_fixes",
    "attribute",
    "audit",
    "bakeoff",
    "create_model",
    "cross_validate",
    "demo",
    "diagnose",
    "evaluate",
    "expand",
    "explain",
    "extract",
    "find_rate",
    "fit",
    "folds",
    "group_by",
    "kept_estimators",
    "leaderboard",
    "load_run",
    "predict",
    "preview",
    "probe",
    "read_images",
    "resume",
    "score",
    "split",
    "summarise",
    "train",
    "write_audit",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module the first time it is used."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'bowerbird' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"bowerbird.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
