"""Settings that differ: only those, and not where the images are."""

from __future__ import annotations

from bowerbird.comparison.differing import differing
from bowerbird.config import NetworkConfig, Recipe, TrainConfig


def test_only_what_differs_is_told_and_not_the_place_of_the_data() -> None:
    recipes = [
        Recipe(data="here", train=TrainConfig(learning_rate=1e-3)),
        Recipe(data="there", network=NetworkConfig(pretrained=False, surgery=("cut features.6",))),
    ]
    first, second = differing(recipes)
    assert first == {"learning_rate": "0.001", "pretrained": "yes", "surgery": "–"}
    assert second == {"learning_rate": "–", "pretrained": "no", "surgery": "cut features.6"}
    assert differing(recipes[:1] * 2) == [{}, {}]
