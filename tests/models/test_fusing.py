from __future__ import annotations

import pytest
import torch
from timm.layers import create_conv2d
from torch import fx, nn

from bowerbird.models import fusing
from bowerbird.models.cuts import fold_batch_norm, trace
from bowerbird.models.fusing import FusedConv, fuse
from bowerbird.models.networks import create_model


def fused_in(part: nn.Module) -> int:
    return sum(isinstance(module, FusedConv) for module in part.modules())


def batch(size: int, channels: int = 3) -> torch.Tensor:
    values = torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))
    return values.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(6, 7), (8, 8), (11, 4)])
@pytest.mark.parametrize("groups", [1, 4])
def test_padding_like_tensorflow(
    kernel: int, stride: int, size: tuple[int, int], groups: int
) -> None:
    torch.manual_seed(0)
    conv = create_conv2d(4, 8, kernel, stride=stride, padding="same", groups=groups, bias=True)
    x = batch(1, 4).expand(2, 4, *size) + torch.randn(2, 4, *size)
    with torch.inference_mode():
        assert isinstance(conv, nn.Conv2d)
        found, expected = FusedConv(conv, nn.ReLU6())(x), nn.functional.relu6(conv(x))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "convolutions"),
    [
        ("tf_efficientnet_lite0", 49),  # uneven padding, ReLU6
        ("resnet18", 20),
        ("mobilenetv3_small_050", 53),  # Hardswish, squeeze and excitation
        ("torchvision:squeezenet1_1", 25),
        ("convnext_atto", 40),
    ],
)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_network_says_the_same(name: str, convolutions: int, precision: torch.dtype) -> None:
    torch.manual_seed(0)
    module = create_model(name, weights="none", num_classes=3, image_size=64).module.eval()
    traced = trace(module)
    part = fold_batch_norm(traced.prefix(traced.before_classifier())).to(precision)
    x = batch(64).to(precision)
    with torch.inference_mode():
        fused = fuse(part, x)
        found, expected = fused(x).float(), part(x).float()
        again = fused(x).float()
    assert fused_in(fused) == convolutions
    assert fused_in(part) == 0
    assert torch.equal(found, again)
    close = 1e-4 if precision == torch.float32 else 0.05
    assert float((found - expected).abs().max()) <= close * float(expected.abs().max())


class Odd(nn.Module):
    """What must not be fused: two users, a hook, other padding, an activation kept elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(3, 3, 3, padding=1)
        self.reflecting = nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")
        self.named = nn.Conv2d(3, 3, 3, padding="same")
        self.hooked = nn.Conv2d(3, 3, 3)
        self.act = nn.ReLU(inplace=True)
        self.tanh = nn.Tanh()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.shared(x)
        both = self.act(seen + 1) + seen
        hooked = self.hooked(self.act(self.named(self.act(self.reflecting(both)))))
        return torch.tanh(self.tanh(hooked))


def test_what_is_special_stays_as_it_is() -> None:
    torch.manual_seed(0)
    module = Odd().eval()
    module.hooked.register_forward_hook(lambda module, args, output: output * 2)
    graph = fx.symbolic_trace(module)
    graph.get_submodule("hooked").register_forward_hook(lambda module, args, output: output * 2)
    x = batch(9)
    with torch.inference_mode():
        fused = fuse(graph, x)
        torch.testing.assert_close(fused(x), graph(x), rtol=1e-5, atol=1e-5)
    assert fused_in(fused) == 1  # the shared one, without an activation


def test_another_size_of_input() -> None:
    torch.manual_seed(0)
    conv = create_conv2d(3, 4, 3, stride=2, padding="same")
    assert isinstance(conv, nn.Conv2d)
    fused = FusedConv(conv, None)
    with torch.inference_mode():
        for size in (8, 7, 8, 5):
            torch.testing.assert_close(fused(batch(size)), conv(batch(size)), rtol=1e-5, atol=1e-5)


def test_without_the_operator_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    monkeypatch.setattr(fusing, "_there", lambda: False)
    assert fuse(graph, batch(8)) is graph
    plain = nn.Identity()
    assert fuse(plain, batch(8)) is plain


def test_an_operator_that_refuses_leaves_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: FusedConv, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no kernel")

    graph = fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    monkeypatch.setattr(FusedConv, "forward", refuse)
    assert fuse(graph, batch(8)) is graph


class InPlace(nn.Module):
    """Changes values in place without using what comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.same, self.act = nn.Identity(), nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)
        first.add_(1.0)
        self.act(first)
        second = self.second(first)
        seen = self.same(second)
        second.mul_(2)
        return torch.relu(seen)


def test_what_changes_a_value_in_place_stays() -> None:
    torch.manual_seed(0)
    graph, x = fx.symbolic_trace(InPlace().eval()), batch(9)
    with torch.inference_mode():
        fused = fuse(graph, x)
        torch.testing.assert_close(fused(x), graph(x), rtol=1e-5, atol=1e-5)
    assert fused_in(fused) == 2


def test_weights_that_are_no_numbers_are_not_hidden() -> None:
    conv = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        conv.weight[0] = float("nan")
    graph = fx.symbolic_trace(nn.Sequential(conv, nn.ReLU()))
    assert fuse(graph, batch(8)) is graph


def test_an_activation_that_someone_watches_stays() -> None:
    graph = fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    graph.get_submodule("1").register_forward_pre_hook(lambda module, args: (args[0] * 3,))
    with torch.inference_mode():
        fused = fuse(graph, batch(8))
        torch.testing.assert_close(fused(batch(8)), graph(batch(8)))
