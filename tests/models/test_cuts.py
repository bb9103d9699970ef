from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from timm.layers import StdConv2dSame
from torch import nn
from torchvision import models

from bowerbird.errors import ModelError
from bowerbird.models.cuts import (
    INPUT,
    Traced,
    classifier_name,
    classifier_names,
    fold_batch_norm,
    trace,
)
from bowerbird.models.networks import create_model

FAMILIES: dict[str, tuple[int, dict[str, Any]]] = {
    "resnet10t": (64, {}),
    "test_convnext": (64, {}),
    "test_vit": (160, {}),
    "test_efficientnet": (64, {}),
    "test_nfnet": (64, {}),
    "densenet121": (32, {"growth_rate": 8, "block_config": (2, 2)}),
    "mobilenetv3_small_050": (64, {}),
    "regnetx_002": (64, {}),
    "mixer_s32_224": (224, {}),
    "vgg11_bn": (32, {"mlp_ratio": 0.02}),
    "swin_tiny_patch4_window7_224": (56, {"embed_dim": 24, "depths": (1, 1), "num_heads": (1, 2)}),
    "hiera_tiny_224": (224, {"embed_dim": 16, "stages": (1, 1, 1, 1)}),
    "xcit_nano_12_p16_224": (64, {"depth": 2}),
    "hrnet_w18_small": (64, {}),
    "torchvision:alexnet": (64, {}),
    "torchvision:googlenet": (64, {}),
    "torchvision:squeezenet1_1": (64, {}),
}


def modes(module: nn.Module) -> dict[str, bool]:
    return {name: part.training for name, part in module.named_modules()}


@pytest.mark.parametrize("name", FAMILIES)
def test_prefix_and_suffix_make_the_network(name: str) -> None:
    size, arguments = FAMILIES[name]
    network = create_model(name, num_classes=5, weights="none", image_size=size, **arguments)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    before = modes(network.module)
    traced = trace(network.module)
    assert modes(network.module) == before
    places = {
        INPUT,
        *(stage.cut for stage in traced.stages),
        *traced.cuts[:: len(traced.cuts) // 4],
    }
    with torch.inference_mode():
        whole = network.module(images)
        for cut in places:
            prefix, suffix = traced.split(cut)
            value = prefix(images)
            assert len(value) == 2
            assert torch.equal(suffix(value.clone()), whole), cut
    for parameter, _ in network.module.named_parameters():
        assert sum(stage.holds(parameter) for stage in traced.stages) == 1, parameter
    assert traced.stages[-1].name == classifier_name(network.module)


def on_meta(name: str, **arguments: Any) -> nn.Module:
    """A timm or torchvision network without values."""
    with torch.device("meta"):
        if name.startswith("torchvision:"):
            found: nn.Module = models.get_model(name.removeprefix("torchvision:"), weights=None)
        else:
            found = timm.create_model(name, **arguments)
    return found.eval()


def numbered(name: str, last: int) -> str:
    return " ".join(f"{name}.{number}" for number in range(last + 1))


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("resnet18", "conv1 layer1 layer2 layer3 layer4 fc"),
        ("resnet101", "conv1 layer1 layer2 layer3 layer4 fc"),
        ("torchvision:resnet101", "conv1 layer1 layer2 layer3 layer4 fc"),
        ("convnext_atto", f"stem {numbered('stages', 3)} head.fc"),
        ("tf_efficientnet_lite0", f"conv_stem {numbered('blocks', 6)} conv_head classifier"),
        ("vit_tiny_patch16_224", f"patch_embed {numbered('blocks', 11)} head"),
        ("deit_tiny_distilled_patch16_224", f"patch_embed {numbered('blocks', 11)} head"),
        ("vit_small_patch16_dinov3", f"patch_embed {numbered('blocks', 11)} head"),
        ("swin_tiny_patch4_window7_224", f"patch_embed {numbered('layers', 3)} head.fc"),
        ("levit_128s", f"stem {numbered('stages', 2)} head.linear"),
        ("repvit_m1", f"stem {numbered('stages', 3)} head.head.l"),
        ("pit_ti_224", f"patch_embed {numbered('transformers', 2)} head"),
        ("regnetx_002", "stem s1 s2 s3 s4 head.fc"),
        ("tresnet_m", "body.conv1 body.layer1 body.layer2 body.layer3 body.layer4 head.fc"),
        ("hgnetv2_b0", f"stem {numbered('stages', 3)} head.last_conv head.fc"),
        ("volo_d1_224", f"patch_embed {numbered('network', 4)} {numbered('post_network', 1)} head"),
        (
            "densenet121",
            "features.conv0 features.denseblock1 features.transition1 features.denseblock2 "
            "features.transition2 features.denseblock3 features.transition3 features.denseblock4 "
            "classifier",
        ),
        (
            "torchvision:alexnet",
            "features.0 features.3 features.6 features.8 features.10 classifier.1 classifier.4 "
            "classifier.6",
        ),
        ("torchvision:maxvit_t", f"stem {numbered('blocks', 3)} classifier.3 classifier.5"),
        (
            "torchvision:vit_b_32",
            " ".join(
                (
                    "conv_proj",
                    *(f"encoder.layers.encoder_layer_{n}" for n in range(12)),
                    "heads.head",
                )
            ),
        ),
    ],
)
def test_stages_are_what_a_person_would_name(name: str, stages: str) -> None:
    traced = trace(on_meta(name, **({} if ":" in name else {"num_classes": 5})))
    assert [stage.name for stage in traced.stages] == stages.split()
    assert traced.before_classifier() == traced.stages[-2].cut
    assert {stage.cut for stage in traced.stages} <= set(traced.cuts)


@pytest.mark.parametrize(
    ("name", "classifiers"),
    [
        ("resnet18", ("fc",)),
        ("deit_tiny_distilled_patch16_224", ("head", "head_dist")),
        ("levit_128s", ("head.linear", "head_dist.linear")),
        ("volo_d1_224", ("head", "aux_head")),
        ("torchvision:squeezenet1_1", ("classifier.1",)),
    ],
)
def test_the_last_stage_holds_all_classifiers(name: str, classifiers: tuple[str, ...]) -> None:
    module = on_meta(name)
    assert classifier_names(module) == classifiers
    assert classifier_name(module) == classifiers[0]
    *before, last = trace(module).stages
    assert all(last.holds(f"{path}.weight") for path in classifiers)
    assert not any(stage.holds(f"{path}.weight") for stage in before for path in classifiers)


def test_a_suffix_holds_nothing_that_it_does_not_use() -> None:
    traced = trace(on_meta("vit_tiny_patch16_224", num_classes=5))
    prefix, suffix = traced.split(traced.stages[3].cut)
    held = {name for name, _ in suffix.named_parameters()}
    assert {name.partition(".")[0] for name in held} == {"blocks", "norm", "head"}
    before = {name for name, _ in prefix.named_parameters()}
    assert {"cls_token", "pos_embed"} <= before
    assert not before & held


class Dropped(nn.Module):
    """Adds something while it trains."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand_like(x) if self.training else x


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.drop = nn.Conv2d(3, 3, 1), Dropped()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.drop(self.conv(x))


def test_a_cut_has_the_same_name_in_training_and_evaluation() -> None:
    """Else features cached in one mode would go into another place in the other."""
    module = nn.Sequential(
        Residual(), Residual(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)
    )
    evaluation, training = trace(module.eval()), trace(module.train())
    assert evaluation.cuts == ("_0_add", "_1_add", "_2", "_3", "_4")
    for cut in evaluation.cuts:
        one, other = (dict(t.suffix(cut).named_parameters()) for t in (evaluation, training))
        assert one.keys() == other.keys()


@pytest.mark.parametrize("name", ["focalnet_tiny_srf", "nextvit_small"])
def test_stages_are_the_same_in_training_and_evaluation(name: str) -> None:
    module = on_meta(name, num_classes=5)
    evaluation, training = trace(module), trace(module.train())
    assert evaluation.stages == training.stages
    assert evaluation.cuts == training.cuts


class Chunks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, other = self.conv(x).chunk(2, dim=1)
        return self.fc((one * other).mean((2, 3)))


def test_a_tuple_is_no_place_to_cut() -> None:
    assert trace(Chunks()).cuts == ("conv", "mul", "mean", "fc")


class Grid(nn.Module):
    """Needs the height of its first value at the end, as XCiT and PiT do."""

    def __init__(self, img_size: int | None) -> None:
        super().__init__()
        if img_size is not None:
            self.img_size = (img_size, img_size)
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.fc = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x)
        count, channels, height, _ = x.shape
        table = torch.arange(height) / height
        x = self.b(x).flatten(2)
        x = x.reshape(count, channels, height, -1) + table.view(1, 1, -1, 1)
        return self.fc(self.c(x).mean((2, 3)) / height)


def composed(traced: Traced, module: nn.Module, images: torch.Tensor) -> list[str]:
    """Cuts where prefix and suffix together are not the network."""
    with torch.inference_mode():
        whole = module(images)
        parts = {cut: traced.split(cut) for cut in traced.cuts}
        return [c for c, (one, two) in parts.items() if not torch.equal(two(one(images)), whole)]


def test_sizes_are_no_hindrance_where_the_image_size_is_stated() -> None:
    plain, stated = (trace(Grid(size).eval()) for size in (None, 8))
    assert plain.cuts == ("a", "truediv_1", "fc")
    assert [stage.name for stage in plain.stages] == ["a", "c", "fc"]
    assert stated.cuts == ("a", "b", "flatten", "reshape", "add", "c", "mean", "truediv_1", "fc")
    assert [stage.name for stage in stated.stages] == ["a", "b", "c", "fc"]
    for count in (1, 5):
        assert composed(stated, stated.graph, torch.randn(count, 3, 8, 8)) == []


def test_a_suffix_with_sizes_refuses_other_images() -> None:
    prefix, suffix = trace(Grid(8).eval()).split("a")
    with pytest.raises(ModelError, match=r"cut for values of \(3, 8, 8\).*Found \(3, 6, 6\)"):
        suffix(prefix(torch.randn(2, 3, 6, 6)))


def test_a_wrongly_stated_image_size_does_no_harm() -> None:
    module = Grid(8).eval()
    module.img_size = (-1, 8)
    assert trace(module).cuts == ("a", "truediv_1", "fc")


class Skip(nn.Module):
    """One skip connection around `b`; nothing inside it can be cut."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.fc = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.a(x)
        b = torch.relu(self.b(a))
        total = a + b
        return self.fc(self.c(total).mean((2, 3)))


def test_a_skip_connection_leaves_exactly_the_expected_cuts() -> None:
    traced = trace(Skip().eval())
    assert traced.cuts == ("a", "add", "c", "mean", "fc")
    assert [(s.name, s.cut, s.modules) for s in traced.stages] == [
        ("a", "a", ("a",)),
        ("b", "add", ("b",)),  # the sum has no weights of its own
        ("c", "mean", ("c",)),  # neither has the average
        ("fc", "fc", ("fc",)),
    ]


def test_a_place_inside_the_skip_connection_is_refused() -> None:
    traced = trace(Skip())
    for place in ("b", "relu", "nothing"):
        with pytest.raises(ModelError, match=f"no place to cut called '{place}'"):
            traced.split(place)


def test_frozen_parts_hold_only_their_own_parameters() -> None:
    traced = trace(Skip().eval())
    assert {n.split(".")[0] for n, _ in traced.prefix("add").named_parameters()} == {"a", "b"}
    assert {n.split(".")[0] for n, _ in traced.suffix("add").named_parameters()} == {"c", "fc"}


def test_parameters_are_shared_with_the_network() -> None:
    module = Skip()
    prefix, suffix = trace(module).split("add")
    assert prefix.get_parameter("a.weight") is module.a.weight
    assert suffix.get_parameter("fc.weight") is module.fc.weight


class InPlace(nn.Module):
    """Changes values in place and drops what the calls return."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x)
        x.mul_(2)
        self.relu(x)
        x = self.b(x)
        torch.nn.functional.relu(x, inplace=True)
        x = x.mean((2, 3))
        x.add_(1)
        return self.fc(x)


def test_changes_in_place_are_kept() -> None:
    module, images = InPlace().eval(), torch.randn(2, 3, 8, 8)
    traced = trace(module)
    with torch.inference_mode():
        for cut in traced.cuts:
            prefix, suffix = traced.split(cut)
            assert torch.equal(suffix(prefix(images).clone()), module(images)), cut


class Optional(nn.Module):
    """Takes another way when it is given a mask, as some of timm's networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, scale: float = 2.0
    ) -> torch.Tensor:
        x = self.a(x).mean((2, 3))
        if mask is not None:
            return x * mask
        return self.fc(x * scale if scale > 1 else x)


def test_optional_inputs_keep_their_defaults() -> None:
    module, images = Optional().eval(), torch.randn(2, 3, 8, 8)
    traced = trace(module)
    with torch.inference_mode():
        for cut in traced.cuts:
            prefix, suffix = traced.split(cut)
            assert torch.equal(suffix(prefix(images)), module(images)), cut


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3)))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.fc(x + y)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Branches, "Branches can't be traced, .*no data-dependent"),
        (TwoInputs, "takes more than one input"),
        (lambda: nn.Sequential(nn.ReLU()), "no linear layer to use as classifier"),
        (lambda: nn.Sequential(nn.Linear(3, 3)), "can't be cut before its classifier '0'"),
        (lambda: on_meta("crossvit_tiny_240"), "classifier 'head.0'.*Choose another network"),
        (lambda: on_meta("efficientvim_m1"), "classifier 'heads.0'.*several classifiers"),
        (lambda: on_meta("vit_tiny_patch16_224", num_classes=0), "at 'head': give --num-classes"),
    ],
)
def test_what_cannot_be_cut_is_refused(make: Callable[[], nn.Module], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        trace(make())


def test_tracing_leaves_every_mode_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    for root, norm in ((False, True), (True, False)):
        module.train(root)
        module[1].train(norm)
        before = modes(module)
        trace(module).split("_1")
        assert modes(module) == before


def test_tracing_disturbs_no_other_thread() -> None:
    """torch.fx patches the modules of the whole process while it traces."""
    modules = [create_model("resnet10t", num_classes=3, weights="none").module for _ in range(2)]
    call = nn.Module.__call__
    images = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        expected = modules[0](images)
    wrong: list[str] = []
    done = threading.Event()

    def use() -> None:
        with torch.inference_mode():
            while not done.is_set():
                if not torch.equal(modules[0](images), expected):
                    wrong.append("used while traced")

    def cut() -> None:
        stages = [len(trace(modules[0]).stages) for _ in range(6)]
        wrong.extend("traced while traced and used" for n in stages if n != 6)

    user, *cutters = (threading.Thread(target=work) for work in (use, cut, cut))
    for thread in (user, *cutters):
        thread.start()
    for thread in cutters:
        thread.join()
    done.set()
    user.join()
    assert wrong == []
    assert nn.Module.__call__ is call


def randomised(module: nn.Module) -> nn.Module:
    """Batch-norms as after training: no mean is 0, no variance 1."""
    generator = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            shape = part.running_mean.shape  # type: ignore[union-attr]
            part.running_mean = torch.randn(shape, generator=generator) * 0.1
            part.running_var = torch.rand(shape, generator=generator) + 0.5
            part.weight.data = torch.rand(shape, generator=generator) + 0.5
            part.bias.data = torch.randn(shape, generator=generator) * 0.1
    return module


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "densenet121"])
def test_folding_gives_the_same_features_and_leaves_the_network(name: str) -> None:
    module = randomised(create_model(name, num_classes=5, weights="none", image_size=64).module)
    traced = trace(module)
    prefix = traced.prefix(traced.before_classifier())
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = {k: v.clone() for k, v in module.state_dict().items()}
    with torch.inference_mode():
        plain = prefix(images)
        folded = fold_batch_norm(prefix)
        assert (folded(images) - plain).norm() < 1e-4 * plain.norm()
        assert torch.equal(prefix(images), plain)
    after = module.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    norms = [sum(isinstance(m, nn.BatchNorm2d) for m in p.modules()) for p in (prefix, folded)]
    assert norms[1] < norms[0]
    assert not {id(p) for p in folded.parameters()} & {id(p) for p in module.parameters()}


def test_every_norm_of_the_default_network_is_folded() -> None:
    traced = trace(create_model(weights="none").module)
    folded = fold_batch_norm(traced.prefix(traced.before_classifier()))
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())


def hooked() -> nn.Module:
    convolution = nn.Conv2d(3, 4, 3)
    convolution.register_forward_hook(lambda *given: given[-1] * 3)
    return convolution


class Between(nn.Module):
    """A convolution whose result is used twice, so its norm isn't all there is after it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return self.fc((self.norm(x) + x).mean((2, 3)))


class Twice(nn.Module):
    """One norm behind two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)
        self.norm, self.fc = nn.BatchNorm2d(3), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.norm(self.b(self.norm(self.a(x)))).mean((2, 3)))


def chain(convolution: nn.Module, **norm: bool) -> nn.Module:
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(
        convolution, nn.BatchNorm2d(4, **norm), pool, nn.Flatten(), nn.Linear(4, 2)
    )


@pytest.mark.parametrize(
    "module",
    [
        randomised(chain(StdConv2dSame(3, 4, 3))),  # scales its weight itself
        randomised(chain(hooked())),
        randomised(chain(nn.Conv2d(3, 4, 3, bias=False))),
        chain(nn.Conv2d(3, 4, 3), affine=False),
        chain(nn.Conv2d(3, 4, 3), track_running_stats=False),
        randomised(Between()),
        randomised(Twice()),
    ],
    ids=["standardised", "hook", "no bias", "not affine", "no statistics", "used twice", "shared"],
)
def test_folding_only_what_can_be_folded(module: nn.Module) -> None:
    traced = trace(module.eval())
    prefix = traced.prefix(traced.before_classifier())
    images = torch.randn(4, 3, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(fold_batch_norm(prefix)(images), prefix(images))
