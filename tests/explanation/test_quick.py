"""Answers in less time are the same answers, or the network's own."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from bowerbird.explanation.attribution import attribute
from bowerbird.explanation.quick import quickened

NAMES = ("tf_efficientnet_lite0", "resnet18", "mobilenetv3_small_050")


def images_of(count: int, side: int = 64) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(count))


def small(name: str) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5).eval()


class Odd(nn.Module):
    """What `change` makes of the input, then convolution, batch-norm, ReLU and a classifier."""

    def __init__(self, change: Any = lambda x: x) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.change, self.fc = change, nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(self.change(x))))
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_the_same_up_to_rounding(name: str) -> None:
    module = small(name)
    quick = quickened(module, images_of(1))
    assert quick is not module
    with torch.no_grad():
        for count in (1, 3, 8):
            images = images_of(count)
            wanted = module(images.clone())
            given = images.clone()
            assert torch.allclose(quick(given), wanted, atol=1e-4 * float(wanted.abs().max()))
            assert torch.equal(given, images)


def test_a_network_without_batch_norms_is_asked_itself() -> None:
    module = small("vit_tiny_patch16_224")
    assert quickened(module, images_of(1, 224)) is module


def branched(x: torch.Tensor) -> torch.Tensor:
    return x if float(x.mean()) > -9 else -x


def flattened(x: torch.Tensor) -> torch.Tensor:
    """A view that there is of channels first only."""
    return x.view(x.shape[0] * x.shape[1], *x.shape[2:]).view(x.shape)


def unlike_its_trace(x: Any) -> torch.Tensor:
    return x if isinstance(x, torch.Tensor) else x["pixels"]


@pytest.mark.parametrize("change", [branched, flattened, unlike_its_trace, nn.Dropout(0.5)])
def test_where_it_is_not_the_same_the_network_is_asked(change: Any) -> None:
    module = Odd(change).train()
    images = images_of(1, 16)
    quick = quickened(module, images)
    assert module.training
    with torch.no_grad():
        wanted = module.eval()(images)
        assert torch.allclose(quick.eval()(images), wanted, atol=1e-4)
    assert (quick is module) != isinstance(change, nn.Module)


def test_a_hook_that_cannot_be_copied_is_no_hindrance() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.lock, self.seen = threading.Lock(), 0

        def note(self, *_: Any) -> None:
            self.seen += 1

    module, recorder = Odd().eval(), Recorder()
    module.conv.register_forward_hook(recorder.note)
    assert quickened(module, images_of(1, 16)) is module
    attribute(module, images_of(1, 16), method="rise", masks=8)
    assert recorder.seen


def test_the_network_can_be_trained_afterwards() -> None:
    module = small("tiny_vit_5m_224")  # keeps what it has computed from its weights
    attribute(module, images_of(1, 224), method="rise", masks=4)
    module(images_of(1, 224)).sum().backward()
    assert any(parameter.grad is not None for parameter in module.parameters())


def test_rise_says_what_it_said_without(monkeypatch: pytest.MonkeyPatch) -> None:
    module, images = small("resnet18"), images_of(2)
    found = attribute(module, images, method="rise", masks=40)
    monkeypatch.setattr("bowerbird.explanation.attribution.quickened", lambda module, _: module)
    plain = attribute(module, images, method="rise", masks=40)
    assert np.allclose(found.maps, plain.maps, atol=1e-4 * plain.maps.max())


def test_infinite_scores_prove_nothing() -> None:
    class Masked(Odd):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores = super().forward(x)
            return torch.cat([scores, torch.full_like(scores[:, :1], float("-inf"))], 1)

    module = Masked().eval()
    assert quickened(module, images_of(2, 16)) is module
