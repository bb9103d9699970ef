"""Each recipe can be read, makes its network, and trains two steps of its plan.

The pretrained weights of the studies' networks are large, so random ones stand in; what
counts as pretrained is only said to be.
"""

from __future__ import annotations

import dataclasses
import gc
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bowerbird.config import NetworkConfig, Recipe, TrainConfig, load_recipe
from bowerbird.errors import ModelError
from bowerbird.features import FeatureCache, Image
from bowerbird.machine import available_memory
from bowerbird.models.networks import Network, from_config
from bowerbird.models.weights import Weights
from bowerbird.storage import hash_file
from bowerbird.training import cost, keeping
from bowerbird.training.batches import Part
from bowerbird.training.interrupts import StopSignal
from bowerbird.training.plan import make_plan
from bowerbird.training.settings import check_settings
from bowerbird.training.tuning import Tuner
from drawing import draw

FOLDER = Path(__file__).parents[1] / "recipes"
ALL = sorted(FOLDER.rglob("*.toml"))
NAMES = [file.relative_to(FOLDER).as_posix() for file in ALL]
CLASSES = {"000": 20, "001": 219, "002": 20, "003": 5, "004": 2, "ope": 10}
LARGE = {"resnext101-32x16d": 192_018_772, "resnext101-32x48d": 826_403_156}
"""Parameters by timm with 1,000 classes, less what 20 classes need less."""

_BYTES_A_PARAMETER = 32  # the network, a copy, gradients, two moments, and what steps need


def classes(name: str) -> int:
    return CLASSES[name[:3]]


def small(recipe: Recipe, name: str) -> tuple[NetworkConfig, TrainConfig]:
    """The recipe with random weights, small images and two batches."""
    size = 224 if "convnext" in name else 96
    network = recipe.network.model_copy(
        update={"weights": "none", "image_size": None if "alexnet" in name else size}
    )
    train = recipe.train.model_copy(
        update={"epochs": 1, "batch_size": 2, "accumulate": 1, "precision": "float32"}
    )
    return network, train


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Part:
    folder = tmp_path_factory.mktemp("images")
    random, images = np.random.default_rng(0), []
    for number in range(4):
        file = folder / f"{number}.png"
        draw(number % 2, size=80, of=120, random=random).save(file)
        images.append(Image(file, hash_file(file)))
    return Part(tuple(images), np.array([0, 1, 0, 1]))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of its own, no measuring, and nothing of half a gigabyte to the disk."""
    monkeypatch.setenv("BOWERBIRD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cost, "measure", lambda *_, **__: cost.Cost(1.0, "float32"))
    for name in ("save", "keep_best", "take_best"):
        monkeypatch.setattr(keeping.Keeper, name, lambda *_: None)
    yield
    gc.collect()  # graphs refer to themselves, and each network is large


def as_pretrained(network: Network) -> Network:
    return dataclasses.replace(network, weights=Weights("file", "made for a test", None))


def two_steps(network: Network, train: TrainConfig, part: Part, folder: Path) -> list[Any]:
    tuner = Tuner(network, train, FeatureCache(), 1, StopSignal(), "cpu", "float32")
    phases = make_plan(tuner, part.images, train, probed=False)
    rows: list[Any] = []
    tuner.run(phases[:1], part, part, folder, lambda found: rows.append(found[-1]))
    return rows


@pytest.mark.parametrize("name", NAMES)
def test_the_header_has_the_command_and_what_was_seen(name: str) -> None:
    head = (FOLDER / name).read_text(encoding="utf-8").split("\n\n")[0]
    assert f"bowerbird train DATA --config recipes/{name}" in head
    assert "Seen here: " in head


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("open")])
def test_two_steps(name: str, part: Part, tmp_path: Path) -> None:
    wanted = next((size for large, size in LARGE.items() if large in name), 0) * _BYTES_A_PARAMETER
    if wanted > available_memory():
        pytest.skip(f"needs about {wanted / 1e9:.0f} GB of memory; its structure is tested below")
    recipe = load_recipe(FOLDER / name)
    network, train = small(recipe, name)
    if recipe.train.unfreeze:  # one epoch has room for the first step only
        train = train.model_copy(update={"unfreeze": recipe.train.unfreeze[:1]})
    made = as_pretrained(from_config(network, classes(name), 0))
    if "softmax" in name:
        with pytest.raises(ModelError, match="softmax"):
            check_settings(made, train)
        train = train.model_copy(update={"allow_double_softmax": True})
    check_settings(made, train)
    (row,) = two_steps(made, train, part, tmp_path)
    assert math.isfinite(row["train_loss"])


@pytest.mark.parametrize(("name", "parameters"), LARGE.items())
def test_larger_variants_have_the_size_that_their_names_promise(name: str, parameters: int) -> None:
    recipe = load_recipe(FOLDER / "000-characters" / f"{name}.toml")
    with torch.device("meta"):
        import timm

        made = timm.create_model(recipe.network.model, num_classes=20, **recipe.network.arguments)
    assert sum(p.numel() for p in made.parameters()) == parameters


def test_the_frozen_study_has_its_own_totals() -> None:
    from bowerbird.models.cuts import trace
    from bowerbird.models.freezing import freezing

    recipe = load_recipe(FOLDER / "000-characters" / "resnext101-frozen.toml")
    network = recipe.network.model_copy(update={"weights": "none"})
    made = from_config(network, 20, 0)
    found = freezing(trace(made.module), made.module, freeze_until=recipe.train.freeze_until)
    sizes = {name: p.numel() for name, p in made.module.named_parameters()}
    assert sum(sizes.values()) == 86_783_316
    assert sum(sizes[name] for name in found.trainable) == 28_786_708
