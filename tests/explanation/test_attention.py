"""Attention maps against weights computed by hand, and nothing left behind."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from timm.layers import Attention
from torch import nn
from torchvision.models import VisionTransformer

from bowerbird.errors import DataError, ModelError
from bowerbird.explanation.attention import attention_maps, rolled_out
from bowerbird.models.networks import Network, create_model


def vit(name: str = "test_vit", size: int = 64) -> Network:
    return create_model(name, weights="none", num_classes=3, image_size=size)


class Block(nn.Module):
    """One attention over a class token and four patches; a head per value, scores known."""

    def __init__(self, *, class_token: bool = True, layers: int = 1) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.ones(1, 1, 2)) if class_token else None
        self.num_prefix_tokens = int(class_token)
        self.attentions = nn.ModuleList(Attention(2, num_heads=2) for _ in range(layers))
        self.head = nn.Linear(2, 2)
        for part in self.attentions:
            part.qkv.weight.data = torch.eye(2).repeat(3, 1)  # queries, keys, values: the tokens

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x[:, :2].flatten(2).transpose(1, 2)
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], 1)
        for part in self.attentions:
            tokens = part(tokens)
        scores: torch.Tensor = self.head(tokens[:, 0])
        return scores


def picture() -> torch.Tensor:
    """The first head's patches are 0, log 2, log 3, log 4; the second's are all 1."""
    x = torch.zeros(1, 3, 2, 2)
    x[0, 0] = torch.tensor([[0.0, math.log(2)], [math.log(3), math.log(4)]])
    x[0, 1] = 1
    return x


def test_a_block_by_hand() -> None:
    """The class token is 1, so the weights are exp of each token: e, 1, 2, 3, 4."""
    (found,) = attention_maps(Block(), picture())
    assert (found.layer, found.reader) == ("attentions.0", "class token")
    expected = np.array([[1, 2], [3, 4]]) / (math.e + 10)
    assert np.allclose(found.heads[0, 0], expected, atol=1e-6)
    assert np.allclose(found.heads[0, 1], 1 / 5, atol=1e-6)
    assert np.allclose(found.mean[0], (expected + 1 / 5) / 2, atol=1e-6)
    assert np.allclose(found.on_places[0], [10 / (math.e + 10), 4 / 5], atol=1e-6)
    assert found.rollout is not None
    assert np.allclose(found.rollout, found.mean / 2, atol=1e-6)  # half is the shortcut's


def test_without_a_class_token_all_places_are_asked() -> None:
    (found,) = attention_maps(Block(class_token=False), picture())
    assert found.reader == "mean of all places"
    values = np.array([0, math.log(2), math.log(3), math.log(4)])
    table = np.exp(np.outer(values, values))
    expected = (table / table.sum(1, keepdims=True)).mean(0).reshape(2, 2)
    assert np.allclose(found.heads[0, 0], expected, atol=1e-6)
    assert np.allclose(found.on_places, 1, atol=1e-6)


def test_rollout_is_the_product_over_the_layers() -> None:
    first = torch.tensor([[[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]]]])
    one = rolled_out(first)
    assert torch.allclose(one, torch.tensor([[[0.75, 0.25], [0.5, 0.5]]]))
    second = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    both = rolled_out(second, one)
    assert torch.allclose(both, torch.tensor([[[0.625, 0.375], [0.5, 0.5]]]))
    assert torch.allclose(rolled_out(torch.rand(2, 3, 5, 5).softmax(-1)).sum(-1), torch.ones(2, 5))


def test_rollout_goes_up_to_the_layer_that_is_shown() -> None:
    module = Block(layers=3)
    all_three = attention_maps(module, picture(), ["1", "attentions.1", "3"])
    assert [found.layer for found in all_three] == [f"attentions.{i}" for i in range(3)]
    rollouts = [found.rollout for found in all_three]
    assert all(r is not None for r in rollouts)
    assert not np.allclose(rollouts[0], rollouts[1])  # type: ignore[arg-type]
    module.attentions = module.attentions[:2]
    (shorter,) = attention_maps(module, picture())
    assert np.allclose(rollouts[1], shorter.rollout)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "reader"),
    [("test_vit", "class token"), ("test_vit3", "mean of all places")],
)
def test_tiny_transformers(name: str, reader: str) -> None:
    network = vit(name)
    images = torch.randn(10, 3, 64, 64)  # more than one batch
    (found,) = attention_maps(network, images, paths=[f"{i}.jpg" for i in range(10)])
    last: Any = network.module.get_submodule("blocks")
    assert found.layer == f"blocks.{len(last) - 1}.attn"
    assert found.heads.shape == (10, last[-1].attn.num_heads, 4, 4)
    assert found.reader == reader
    assert (found.heads > 0).all()
    assert (found.on_places < 1).all()
    assert np.allclose(found.on_places, 16 / 17, atol=0.03)  # new weights: nearly even
    assert found.rollout is not None
    assert (found.rollout.sum((1, 2)) < 1).all()
    (alone,) = attention_maps(network, images[9:])
    assert np.allclose(alone.heads, found.heads[9:], atol=1e-6)
    assert "10 images" in repr(found)
    assert found.to_dict()["places"] == [4, 4]


def test_torchs_own_attention() -> None:
    torch.manual_seed(0)
    module = VisionTransformer(32, 16, 2, 3, 12, 24, num_classes=2).eval()
    inputs = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        before = module(inputs)
    (found,) = attention_maps(module, inputs, ["encoder.layers.encoder_layer_1"])
    assert found.heads.shape == (2, 3, 2, 2)
    assert found.reader == "class token"
    assert np.allclose(found.on_places, 4 / 5, atol=0.15)
    with torch.inference_mode():
        assert torch.equal(module(inputs), before)


def test_everything_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    module = vit().module.train()
    fused = [part.fused_attn for part in module.modules() if isinstance(part, Attention)]
    attention_maps(module, torch.randn(1, 3, 64, 64))
    with pytest.raises(RuntimeError):
        attention_maps(module, torch.randn(1, 5, 64, 64))
    assert all(part.training for part in module.modules())
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    for part in module.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
    after = [part.fused_attn for part in module.modules() if isinstance(part, Attention)]
    assert after == fused
    assert torch.is_grad_enabled()


def test_the_answer_of_the_network_is_not_changed() -> None:
    network, inputs = vit(), torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        before = network.module(inputs)
    seen: list[torch.Tensor] = []
    handle = network.module.register_forward_hook(lambda *found: seen.append(found[2]))
    attention_maps(network, inputs)
    handle.remove()
    assert torch.allclose(seen[0], before, atol=1e-5)


def test_attention_of_other_kinds_is_refused() -> None:
    images = torch.randn(1, 3, 64, 64)
    with pytest.raises(ModelError, match=r"ResNet has no attention between places"):
        attention_maps(create_model("test_resnet", weights="none", image_size=64), images)

    class Mixed(Attention):
        """Its weights are mixed between heads, and are no shares."""

        def forward(self, x: torch.Tensor, **_: Any) -> torch.Tensor:
            weights = 2 * torch.softmax(x @ x.transpose(1, 2), -1)[:, None]
            mixed: torch.Tensor = (self.attn_drop(weights) @ x[:, None])[:, 0]
            return mixed

    module = Block()
    module.attentions[0] = Mixed(2, num_heads=1)
    with pytest.raises(ModelError, match="Mixed is within windows"):
        attention_maps(module, picture())


def test_windows_are_left_out_and_rollout_with_them() -> None:
    network = create_model(
        "swin_tiny_patch4_window7_224", weights="none", num_classes=2, image_size=224,
        embed_dim=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 2),
    )  # fmt: skip
    (found,) = attention_maps(network, torch.randn(1, 3, 224, 224))
    assert found.layer.startswith("layers.3")
    assert found.heads.shape == (1, 2, 7, 7)
    assert found.rollout is None
    with pytest.raises(ModelError, match="no attention between places"):
        attention_maps(network, torch.randn(1, 3, 224, 224), ["layers.0"])


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("7", "go from 1 to 6"),
        ("0", "go from 1 to 6"),
        ("blocks", "has 6 attentions"),
        ("blocks.9.attn", "Did you mean blocks"),
        ("head", "There are: blocks.0.attn"),
        ("", "There are: blocks.0.attn"),
    ],
)
def test_layers_that_are_not_there(layer: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        attention_maps(vit(), torch.randn(1, 3, 64, 64), [layer])


def test_inputs_that_are_none() -> None:
    for wrong in (torch.zeros(3, 64, 64), torch.zeros(0, 3, 64, 64)):
        with pytest.raises(DataError, match="Inputs must be"):
            attention_maps(vit(), wrong)
