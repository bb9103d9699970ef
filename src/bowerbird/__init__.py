"""Bowerbird: from a folder of labelled images to an honest, explained classifier.

>>> import bowerbird as bb
>>> sorted(name for name in bb.__all__ if name.islower())[:4]
['create_model', 'demo', 'evaluate', 'extract']

Names are loaded when they are first used, so importing this package is instant and
doesn't import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bowerbird.config import (
        NetworkConfig,
        Preprocess,
        ReadConfig,
        Recipe,
        SplitConfig,
        TrainConfig,
    )
    from bowerbird.data.dataset import Dataset, Problem, Sample
    from bowerbird.data.sources import read_images
    from bowerbird.data.splits import Split, split
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
    from bowerbird.evaluation.metrics import score
    from bowerbird.evaluation.predict import evaluate, predict
    from bowerbird.evaluation.results import Confusion, Evaluation, Predictions
    from bowerbird.features import FeatureCache, Features, extract
    from bowerbird.models.networks import Network, create_model
    from bowerbird.models.summary import ModelSummary, summarise
    from bowerbird.report.of_run import write_report
    from bowerbird.runs import Run, load_run
    from bowerbird.training.fit import fit, resume
    from bowerbird.training.rates import RateCurve, find_rate
    from bowerbird.workflow import demo, train

_HOMES = {
    "config": ("NetworkConfig", "Preprocess", "ReadConfig", "Recipe", "SplitConfig", "TrainConfig"),
    "data.dataset": ("Dataset", "Problem", "Sample"),
    "data.sources": ("read_images",),
    "data.splits": ("Split", "split"),
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
    "evaluation.metrics": ("score",),
    "evaluation.predict": ("evaluate", "predict"),
    "evaluation.results": ("Confusion", "Evaluation", "Predictions"),
    "features": ("FeatureCache", "Features", "extract"),
    "models.networks": ("Network", "create_model"),
    "models.summary": ("ModelSummary", "summarise"),
    "report.of_run": ("write_report",),
    "runs": ("Run", "load_run"),
    "training.fit": ("fit", "resume"),
    "training.rates": ("RateCurve", "find_rate"),
    "workflow": ("demo", "train"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BowerbirdError",
    "CacheError",
    "ConfigError",
    "Confusion",
    "DataError",
    "Dataset",
    "Evaluation",
    "FeatureCache",
    "Features",
    "ImageError",
    "Interrupted",
    "ModelError",
    "ModelSummary",
    "Network",
    "NetworkConfig",
    "Predictions",
    "Preprocess",
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
    "create_model",
    "demo",
    "evaluate",
    "extract",
    "find_rate",
    "fit",
    "load_run",
    "predict",
    "read_images",
    "resume",
    "score",
    "split",
    "summarise",
    "train",
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
