"""Families are found in names, neighbours by their parameters."""

from __future__ import annotations

from typing import Any

import pytest

from bowerbird.models import weights
from bowerbird.models.siblings import siblings

HERE: set[str] = set()


@pytest.fixture(autouse=True)
def _weights_anywhere(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is in the caches of this machine decides nothing here."""

    really = weights.find

    def find(name: str, spec: str, known: Any, *, offline: bool) -> weights.Weights:
        if spec == "none":
            return really(name, spec, known, offline=offline)
        return weights.Weights("packaged" if name in HERE else "online", "somewhere")

    monkeypatch.setattr(weights, "find", find)
    yield
    HERE.clear()


@pytest.mark.parametrize(
    ("name", "smaller", "larger"),
    [
        ("resnet18", None, "resnet26"),
        ("resnet50.a1_in1k", "resnet34", "resnet101"),
        ("vit_small_patch16_224", "vit_tiny_patch16_224", "vit_base_patch16_224"),
        ("tf_efficientnet_lite1", "tf_efficientnet_lite0", "tf_efficientnet_lite2"),
        ("torchvision:resnet18", None, "torchvision:resnet34"),
        ("test_resnet", None, None),
        ("torchvision:alexnet", None, None),
        ("no such network", None, None),
    ],
)
def test_neighbours_in_size(name: str, smaller: str | None, larger: str | None) -> None:
    found = siblings(name)
    assert [entry and entry.name for entry in found] == [smaller, larger]


def test_the_larger_one_has_more_parameters() -> None:
    found = siblings("efficientnet_b1")
    assert found.smaller is not None
    assert found.larger is not None
    assert (found.smaller.parameters or 0) < 7_794_184 < (found.larger.parameters or 0)


def test_one_whose_weights_are_here_comes_first() -> None:
    HERE.add("resnet34")
    found = siblings("resnet18").larger
    assert found is not None
    assert (found.name, found.here, found.parameters) == ("resnet34", True, 21_797_672)
