from __future__ import annotations

import pytest
import torch

from bowerbird.config import NetworkConfig
from bowerbird.errors import ModelError
from bowerbird.features.means import averaged, averaging, cut_at, is_spatial, shapes_at
from bowerbird.models.cuts import Traced, trace
from bowerbird.models.networks import Network, from_config

SIZE = (32, 32)


def network(model: str = "test_resnet") -> Network:
    return from_config(NetworkConfig(model=model, weights="none", image_size=32), None, 0)


@pytest.fixture(scope="module")
def made() -> Network:
    return network()


@pytest.fixture(scope="module")
def traced(made: Network) -> Traced:
    return trace(made.module)


def test_means_of_all_stages_are_those_of_each_prefix(made: Network, traced: Traced) -> None:
    cuts = [stage.cut for stage in traced.stages[:-1]]
    images = torch.rand(3, 3, 32, 32)
    with torch.inference_mode():
        found = averaging(traced, cuts, SIZE).prefix("any name")(images)
        wanted = [traced.prefix(cut)(images) for cut in cuts]
    means = [v.mean((2, 3)) if v.ndim == 4 else v for v in wanted]
    assert torch.equal(found, torch.cat(means, 1))
    widths = [shapes_at(traced, cuts[-1], images)[cut][1] for cut in cuts]
    assert sum(widths) == found.shape[1]


def test_the_network_is_left_as_it_was(made: Network, traced: Traced) -> None:
    before = [node.name for node in traced.graph.graph.nodes]
    averaging(traced, [traced.stages[0].cut], SIZE).prefix("x")
    assert [node.name for node in traced.graph.graph.nodes] == before


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((2, 5), 5), ((2, 5, 7, 7), 5), ((2, 7, 7, 5), 5), ((2, 50, 6), 6), ((2, 7, 7, 7), 7),
     ((2, 5, 1, 1), 5)],
)  # fmt: skip
def test_one_number_per_channel(shape: tuple[int, ...], channels: int) -> None:
    value = torch.rand(shape)
    found = averaged(value, (224, 224))
    assert found.shape == (2, channels)
    assert torch.allclose(found.mean(1), value.flatten(1).mean(1), atol=1e-6)


def test_which_values_have_places() -> None:
    assert is_spatial((2, 5, 7, 7), (224, 224))
    assert not is_spatial((2, 7, 7, 5), (224, 224))
    assert not is_spatial((2, 5, 1, 1), (224, 224))
    assert not is_spatial((2, 5), (224, 224))


def test_a_layer_is_found_by_cut_stage_and_module(traced: Traced) -> None:
    stage = traced.stages[1]
    assert cut_at(traced, None) == traced.before_classifier()
    assert cut_at(traced, stage.cut) == stage.cut
    assert cut_at(traced, stage.name) == stage.cut
    assert cut_at(traced, "layer1.0") in traced.cuts


@pytest.mark.parametrize("name", ["layer9", "", "input", "laier1"])
def test_a_wrong_layer_names_the_stages(traced: Traced, name: str) -> None:
    with pytest.raises(ModelError, match=r"Its stages are .*layer1"):
        cut_at(traced, name)
