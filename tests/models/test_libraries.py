from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from bowerbird.errors import ModelError, WeightsError
from bowerbird.models.libraries import make
from bowerbird.models.networks import Network, create_model

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def small(name: str = "test_resnet", **more: Any) -> Network:
    return create_model(name, **({"num_classes": 3, "weights": "none"} | more))


@pytest.mark.parametrize("short", models.list_models(module=models))
def test_torchvision_preprocessing_is_torchvisions(short: str) -> None:
    from bowerbird.models.libraries import _torchvision_preprocess

    weights = models.get_model_weights(short).DEFAULT
    theirs, ours = weights.transforms(), _torchvision_preprocess(weights, None, 3)
    crop, resize = theirs.crop_size[0], theirs.resize_size[0]
    assert ours.input_size == (crop, crop)
    assert math.floor(crop / ours.crop_pct) == max(resize, crop)
    assert ours.mean == tuple(theirs.mean)
    assert ours.interpolation == theirs.interpolation.value


CHANNELS = [
    ("test_resnet", {}),
    ("test_vit", {"image_size": 64}),
    ("torchvision:squeezenet1_1", {"image_size": 64}),
    ("torchvision:googlenet", {"image_size": 64}),
]


@pytest.mark.parametrize(("name", "more"), CHANNELS)
@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_networks_are_made_for_any_number_of_channels(
    name: str, more: dict[str, Any], channels: int
) -> None:
    network = small(name, channels=channels, **more)
    assert network.channels == channels
    with torch.no_grad():
        scores = network.module(torch.randn(2, channels, *network.preprocess.input_size))
    assert scores.shape == (2, 3)


def test_the_mean_and_deviation_of_other_channels() -> None:
    def levels(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        preprocess = small("torchvision:squeezenet1_1", channels=channels).preprocess
        return preprocess.mean, preprocess.std

    grey = [sum(colours) / 3 for colours in IMAGENET]
    assert levels(3) == IMAGENET
    assert levels(1) == ((grey[0],), (grey[1],))
    assert levels(2) == ((grey[0],) * 2, (grey[1],) * 2)
    assert levels(4) == ((*IMAGENET[0], grey[0]), (*IMAGENET[1], grey[1]))


@pytest.mark.parametrize("name", ["test_resnet", "torchvision:squeezenet1_1"])
def test_pretrained_first_filters_are_adapted(name: str, tmp_path: Path) -> None:
    colour = small(name, num_classes=None, seed=4)
    file = tmp_path / "a.safetensors"
    save_file(colour.module.state_dict(), file)
    first = next(iter(colour.module.state_dict()))
    filters = colour.module.state_dict()[first]
    grey = small(name, num_classes=None, weights=str(file), channels=1, seed=5).module.state_dict()
    torch.testing.assert_close(grey[first], filters.sum(1, keepdim=True))
    alpha = small(name, num_classes=None, weights=str(file), channels=4, seed=5).module.state_dict()
    torch.testing.assert_close(alpha[first], torch.cat([filters, filters[:, :1]], 1) * 0.75)
    others = [k for k in grey if k != first]
    assert all(torch.equal(grey[k], colour.module.state_dict()[k]) for k in others)


def test_a_grey_image_scores_alike_in_colour_and_in_grey(tmp_path: Path) -> None:
    """Summed filters see a grey image as the original sees it in three equal channels."""
    file = tmp_path / "a.safetensors"
    colour = create_model("torchvision:squeezenet1_1", weights="none", seed=4)
    save_file(colour.module.state_dict(), file)
    grey = create_model("torchvision:squeezenet1_1", weights=str(file), channels=1)
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(grey.module(image), colour.module(image.expand(1, 3, 64, 64)))


def test_weights_of_a_grey_network_are_taken_as_they_are(tmp_path: Path) -> None:
    grey = small(channels=1, num_classes=None, seed=4)
    save_file(grey.module.state_dict(), tmp_path / "a.safetensors")
    again = small(channels=1, num_classes=None, weights=str(tmp_path / "a.safetensors"))
    state = again.module.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in grey.module.state_dict().items())
    with pytest.raises(WeightsError, match=r"± conv1.0.weight: \(16, 1, 3, 3\) in the file"):
        small(weights=str(tmp_path / "a.safetensors"))


def test_packaged_weights_are_adapted() -> None:
    colour = create_model(num_classes=3).module.get_parameter("conv_stem.weight")
    grey = create_model(num_classes=3, channels=1)
    found = grey.module.get_parameter("conv_stem.weight")
    torch.testing.assert_close(found, colour.sum(1, keepdim=True))
    assert (grey.preprocess.mean, grey.preprocess.std) == ((0.5,), (0.5,))


def test_googlenets_scaling_of_three_colours_becomes_a_mean(tmp_path: Path) -> None:
    colour = small("torchvision:googlenet", num_classes=1000)
    torch.save(colour.module.state_dict(), tmp_path / "g.pth")
    grey = small("torchvision:googlenet", weights=str(tmp_path / "g.pth"), channels=1)
    assert not grey.module.transform_input
    assert (grey.preprocess.mean, grey.preprocess.std) == ((0.5,), (0.5,))
    three = small("torchvision:googlenet", weights=str(tmp_path / "g.pth"), num_classes=1000)
    one = small(
        "torchvision:googlenet", weights=str(tmp_path / "g.pth"), channels=1, num_classes=1000
    )
    image = torch.rand(1, 1, 64, 64)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in IMAGENET)
    with torch.no_grad():
        expected = three.module((image - mean) / std)
        torch.testing.assert_close(one.module((image - 0.5) / 0.5), expected, atol=1e-4, rtol=1e-4)


def test_timms_own_word_for_channels_counts() -> None:
    assert small(in_chans=1).channels == 1
    assert small("torchvision:squeezenet1_1", in_chans=1).channels == 1
    assert small(in_chans=4, channels=4).channels == 4
    assert "in_chans" not in small(in_chans=1).arguments
    for bad in ({"in_chans": 1, "channels": 4}, {"in_chans": 0}, {"in_chans": "3"}):
        with pytest.raises(ModelError, match="Input channels are given as"):
            small(**bad)


@pytest.mark.filterwarnings("ignore:CSATv2")
def test_a_network_that_cannot_take_other_channels_says_so() -> None:
    with pytest.raises(ModelError, match=r"The network can't run: stem_dct"):
        small("csatv2", channels=1)


def test_the_size_that_a_transformer_is_made_for_is_that_of_its_images() -> None:
    assert small("test_vit", img_size=64).preprocess.input_size == (64, 64)
    assert small("test_vit", img_size=[64, 96]).preprocess.input_size == (64, 96)


def test_large_transformers_of_torchvision_are_made_for_the_size_of_their_weights() -> None:
    with torch.device("meta"):
        network = small("torchvision:vit_h_14")
    height, width = network.preprocess.input_size
    assert network.module(torch.empty(1, 3, height, width, device="meta")).shape == (1, 3)


def test_torchvisions_networks_come_with_their_own_classes() -> None:
    made = make("torchvision:squeezenet1_1", 3, "none", True, None, 3, {})
    assert made.num_classes == 1000
    assert make("test_resnet", 3, "none", True, None, 3, {}).num_classes == 3


def test_misfits_that_timm_finds_are_listed(tmp_path: Path, monkeypatch: Any) -> None:
    from bowerbird.models import weights as sources

    file = tmp_path / "a.safetensors"
    save_file(small("test_resnet", num_classes=1000).module.state_dict(), file)
    cached = sources.Weights("cached", "here", None, file)
    monkeypatch.setattr(sources, "find", lambda *_, **__: cached)
    with pytest.raises(ModelError) as caught:
        create_model("test_resnet", channels_last=True)
    assert "doesn't take these arguments" in str(caught.value)
    with pytest.raises(ModelError) as caught:
        create_model("test_resnet", layers=[1, 2, 1, 1])
    shown = str(caught.value).splitlines()
    assert shown[0].endswith("its tensors don't fit.")
    assert shown[1] == "- layer2.1.conv1.weight is missing in the file"
    assert len(shown) <= 12
