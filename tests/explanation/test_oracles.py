"""Maps against those of captum and torchcam, and against arithmetic done by hand (X1, X2, X7)."""

from __future__ import annotations

from collections.abc import Iterator

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn
from torchcam import methods as torchcam

from bowerbird.explanation.attribution import Attributor, attribute
from bowerbird.explanation.captum_methods import completeness
from bowerbird.explanation.maps import FORMULAS, eigen_cam
from bowerbird.models.networks import create_model

NETWORKS = {  # the classifier, and a layer in the middle
    "test_resnet": ("layer4", "layer2"),
    "tf_efficientnet_lite0": ("bn2", "blocks.4"),
    "torchvision:squeezenet1_1": ("features", "features.7"),
}
PAIRS = [(name, layer) for name, layers in NETWORKS.items() for layer in layers]


@pytest.fixture(scope="module", params=PAIRS, ids=" ".join)
def case(request: pytest.FixtureRequest) -> Iterator[tuple[nn.Module, str, torch.Tensor]]:
    name, layer = request.param
    weights = "auto" if name == "tf_efficientnet_lite0" else "none"
    network = create_model(name, weights=weights, offline=True, image_size=96, seed=1)
    generator = torch.Generator().manual_seed(0)
    yield network.module, layer, torch.randn(2, 3, 96, 96, generator=generator)


def ours(module: nn.Module, method: str, layer: str, images: torch.Tensor) -> np.ndarray:
    return attribute(module, images, method=method, layer=layer, target=1).maps


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert expected.max() > 0
    assert np.abs(found - expected).max() <= 1e-5 * expected.max()


def test_grad_cam_is_that_of_captum(case: tuple[nn.Module, str, torch.Tensor]) -> None:
    module, layer, images = case
    part = module.get_submodule(layer)
    theirs = captum.attr.LayerGradCam(module, part).attribute(
        images, target=1, relu_attributions=True
    )
    assert_same(ours(module, "gradcam", layer, images), theirs[:, 0].detach().numpy())


@pytest.mark.parametrize(
    ("method", "oracle"),
    [
        ("gradcam", torchcam.GradCAM),
        ("layercam", torchcam.LayerCAM),
    ],
)
def test_maps_are_those_of_torchcam(
    case: tuple[nn.Module, str, torch.Tensor], method: str, oracle: type
) -> None:
    module, layer, images = case
    with oracle(module, layer) as extractor:
        scores = module(images.clone().requires_grad_())
        theirs = extractor([1, 1], scores, normalized=False)[0].relu()
    assert_same(ours(module, method, layer, images), theirs.detach().numpy())


def authors_grad_cam_plus_plus(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    """One image [C, h, w], as in the authors' code, channel by channel.

    torchcam 0.5 can't be the oracle: it divides a copy of alpha, and so leaves it undivided.
    """
    total = np.zeros(a.shape[1:])
    for values, gradient in zip(a, g, strict=True):
        below = 2 * gradient**2 + gradient**3 * values.sum() + 1e-8
        alpha = np.divide(gradient**2, below, out=np.zeros_like(below), where=gradient != 0)
        total += (alpha * np.maximum(gradient, 0)).sum() * values
    return np.maximum(total, 0)


def test_grad_cam_plus_plus_is_that_of_its_authors(
    case: tuple[nn.Module, str, torch.Tensor],
) -> None:
    module, layer, images = case
    kept: list[torch.Tensor] = []

    def keep(_part: nn.Module, _args: object, output: torch.Tensor) -> torch.Tensor:
        kept.append(output)
        return output.clone()

    handle = module.get_submodule(layer).register_forward_hook(keep)
    score = module(images.clone().requires_grad_())[:, 1].sum()
    handle.remove()
    gradient = torch.autograd.grad(score, kept[0])[0].double().numpy()
    values = kept[0].detach().double().numpy()
    expected = np.stack(
        [authors_grad_cam_plus_plus(*pair) for pair in zip(values, gradient, strict=True)]
    )
    assert_same(ours(module, "gradcam++", layer, images), expected)


class Pooled(nn.Module):
    """A convolution, a global average, a linear classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(inplace=True))
        self.fc = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.fc(self.body(x).mean((2, 3)))
        return scores


def test_behind_a_pooled_linear_classifier_all_agree_and_add_up_to_the_score() -> None:
    torch.manual_seed(3)
    module, images = Pooled(), torch.randn(4, 3, 10, 8)
    values = module.body(images.clone()).detach()
    classic = torch.einsum("k,bkhw->bhw", module.fc.weight[2], values) / 48
    expected = classic.relu().detach().numpy()
    for method in ("hirescam", "gradcam"):
        found = attribute(module, images, method=method, layer="body", target=2)
        assert_same(found.maps, expected)
    whole = classic.sum((1, 2)) + module.fc.bias[2]
    assert torch.allclose(whole, module(images)[:, 2], atol=1e-5)


def test_formulas_by_hand() -> None:
    a = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])  # one image, two channels, 1 × 2 places
    g = torch.tensor([[[[1.0, -1.0]], [[0.0, 2.0]]]])
    assert FORMULAS["hirescam"](a, g).tolist() == [[[1.0, 0.0]]]
    assert FORMULAS["gradcam"](a, g).tolist() == [[[3.0, 0.0]]]
    assert FORMULAS["layercam"](a, g).tolist() == [[[1.0, 0.0]]]
    # channel 0: alpha 1 / (2 + 1·3) at its positive place, weight 1/5; channel 1: alpha
    # 4 / (8 + 8·3) = 1/8, weight 1/4
    assert FORMULAS["gradcam++"](a, g)[0, 0].tolist() == pytest.approx([0.95, 0.4], rel=1e-6)


@pytest.mark.parametrize("shape", [(2, 40, 3, 4), (2, 4, 6, 5)], ids=["channels", "places"])
def test_eigen_cam_is_the_first_component_of_a_singular_value_decomposition(
    shape: tuple[int, ...],
) -> None:
    a = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    found = eigen_cam(a, a)
    for image, one in zip(a, found, strict=True):
        rows = image.flatten(1).T
        rows = rows - rows.mean(0)
        u, s, _ = torch.linalg.svd(rows, full_matrices=False)
        expected = u[:, 0] * s[0]
        expected = expected * (expected @ rows.sum(1)).sign()
        assert torch.allclose(one.flatten(), expected.relu(), atol=1e-4)


def test_integrated_gradients_add_up_to_the_score() -> None:
    torch.manual_seed(0)
    module, images = Pooled(), torch.randn(3, 3, 12, 12)
    found = attribute(module, images, method="integrated-gradients", target=1)
    missed = completeness(torch.from_numpy(found.maps), images, lambda x: module(x)[:, 1])
    assert found.maps.shape == (3, 12, 12)
    assert missed.max() <= 0.05


def test_occlusion_measures_what_hiding_a_square_costs() -> None:
    """A classifier that adds up one corner: only squares over it cost anything."""

    class Corner(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            corner = x[:, :, :4, :4].sum((1, 2, 3))
            return torch.stack([corner, -corner], 1)

    images = torch.ones(1, 3, 16, 16)
    found = attribute(Corner(), images, method="occlusion", window=0.25, stride=0.25, target=0)
    assert found.maps[0, :4, :4].tolist() == [[48.0] * 4] * 4
    assert not found.maps[0, 4:].any()
    assert not found.maps[0, :, 4:].any()


def test_rise_finds_what_the_answer_hangs_on() -> None:
    class Middle(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen = x[:, :, 14:18, 14:18].mean((1, 2, 3))
            return torch.stack([4 * seen, torch.zeros_like(seen)], 1)

    images = torch.ones(2, 3, 32, 32)
    found = attribute(Middle(), images, method="rise", target=0, masks=400)
    assert np.array_equal(found.maps[0], found.maps[1])
    row, column = np.unravel_index(found.maps[0].argmax(), found.maps[0].shape)
    assert max(abs(row - 15.5), abs(column - 15.5)) <= 4
    assert found.maps[0, :6].mean() < 0.1 * found.maps[0].max()


def test_an_attributor_knows_its_layer_after_the_first_batch() -> None:
    torch.manual_seed(0)
    attributor = Attributor(Pooled())
    attributor(torch.randn(1, 3, 8, 8))
    assert repr(attributor.place) == "Place(body, 6 × 6 × 5)"
