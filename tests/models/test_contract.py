"""What every network promises, over one small member of each family.

Made, head replaced, run, cut into stages, half of it frozen, split and put together again,
trained a step, saved and loaded. Images are as small as the network takes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from bowerbird.models.cuts import INPUT, Traced, classifier_names, trace
from bowerbird.models.freezing import Freezing, freezing
from bowerbird.models.networks import (
    Network,
    create_model,
    load_network,
    save_network,
    set_classifier,
)

SMALL = 32
ARCHITECTURES: dict[str, tuple[int, dict[str, Any]]] = {
    "beit_base_patch16_224": (SMALL, {"depth": 2, "embed_dim": 48, "num_heads": 3}),
    "caformer_s18": (SMALL, {}),
    "cait_xxs24_224": (SMALL, {"depth": 2}),
    "coat_lite_tiny": (SMALL, {}),
    "convit_tiny": (SMALL, {"depth": 3}),
    "convnext_zepto_rms": (SMALL, {}),
    "cs3darknet_focus_s": (SMALL, {}),
    "davit_tiny": (
        SMALL,
        {"depths": [1, 1, 1, 1], "embed_dims": [24, 48, 96, 192], "num_heads": [1, 2, 3, 6]},
    ),
    "deit_tiny_distilled_patch16_224": (SMALL, {"depth": 2}),
    "deit_tiny_patch16_224": (SMALL, {"depth": 2}),
    "densenet121": (SMALL, {"growth_rate": 8, "block_config": [2, 2, 2, 2]}),
    "dla46_c": (SMALL, {}),
    "dpn48b": (SMALL, {}),
    "edgenext_xx_small": (SMALL, {}),
    "efficientformer_l1": (224, {}),
    "efficientformerv2_s0": (SMALL, {}),
    "efficientvit_m0": (SMALL, {}),
    "ese_vovnet19b_slim_dw": (SMALL, {}),
    "eva02_tiny_patch14_224": (SMALL, {"depth": 2}),
    "fastvit_t8": (SMALL, {}),
    "ghostnet_050": (SMALL, {}),
    "hiera_tiny_224": (SMALL, {"embed_dim": 16, "stages": [1, 1, 1, 1]}),
    "hrnet_w18_small": (SMALL, {}),
    "inception_next_atto": (SMALL, {}),
    "inception_v3": (80, {}),
    "lcnet_035": (SMALL, {}),
    "legacy_seresnet18": (SMALL, {}),
    "levit_128s": (SMALL, {}),
    "mixer_s32_224": (SMALL, {}),
    "mnasnet_small": (SMALL, {}),
    "mobilenetv2_035": (SMALL, {}),
    "mobilenetv3_small_050": (SMALL, {}),
    "mobilenetv4_conv_small_035": (SMALL, {}),
    "mobileone_s0": (SMALL, {}),
    "mobilevit_xxs": (SMALL, {}),
    "mobilevitv2_050": (SMALL, {}),
    "nf_regnet_b0": (SMALL, {}),
    "pit_ti_224": (SMALL, {}),
    "pit_ti_distilled_224": (SMALL, {}),
    "poolformer_s12": (SMALL, {}),
    "pvt_v2_b0": (SMALL, {}),
    "regnetx_002": (SMALL, {}),
    "repvit_m1": (SMALL, {}),
    "res2net50_26w_4s": (SMALL, {"layers": [1, 1, 1, 1]}),
    "resnest14d": (SMALL, {}),
    "resnext26ts": (SMALL, {}),
    "rexnet_100": (SMALL, {}),
    "samvit_base_patch16_224": (
        SMALL,
        {"depth": 2, "embed_dim": 48, "num_heads": 3, "global_attn_indexes": [1]},
    ),
    "sequencer2d_s": (SMALL, {"layers": [1, 1, 1, 1]}),
    "starnet_s050": (SMALL, {}),
    "swiftformer_xs": (SMALL, {}),
    "swin_tiny_patch4_window7_224": (
        SMALL,
        {"embed_dim": 24, "depths": [1, 1], "num_heads": [1, 2]},
    ),
    "swinv2_tiny_window8_256": (
        SMALL,
        {"embed_dim": 24, "depths": [1, 1], "num_heads": [1, 2]},
    ),
    "test_byobnet": (SMALL, {}),
    "test_convnext": (SMALL, {}),
    "test_efficientnet": (SMALL, {}),
    "test_mambaout": (SMALL, {}),
    "test_maxvit": (SMALL, {}),
    "test_nfnet": (SMALL, {}),
    "test_resnet": (SMALL, {}),
    "test_vit": (SMALL, {}),
    "tiny_vit_5m_224": (SMALL, {}),
    "tnt_s_patch16_224": (SMALL, {"depth": 2}),
    "torchvision:alexnet": (64, {}),
    "torchvision:googlenet": (SMALL, {}),
    "torchvision:shufflenet_v2_x0_5": (SMALL, {}),
    "torchvision:squeezenet1_1": (SMALL, {}),
    "torchvision:swin_t": (SMALL, {}),
    "twins_svt_small": (SMALL, {"depths": [2, 2, 1, 1]}),
    "vgg11": (SMALL, {"mlp_ratio": 0.02}),
    "vit_small_patch16_dinov3": (SMALL, {"depth": 2, "embed_dim": 48, "num_heads": 3}),
    "xcit_nano_12_p16_224": (SMALL, {"depth": 2}),
}

CLASSES = ("a", "b", "c")


def made(name: str) -> Network:
    """A network of two classes whose head is then replaced by one of three."""
    size, arguments = ARCHITECTURES[name]
    network = create_model(name, num_classes=2, weights="none", image_size=size, **arguments)
    set_classifier(network.module, len(CLASSES))
    return dataclasses.replace(network, num_classes=len(CLASSES))


def outputs(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = module(images.clone())
    return found


def check_stages(traced: Traced, module: nn.Module) -> None:
    stages = traced.stages
    assert 2 <= len(stages) <= 40, traced
    assert len({stage.name for stage in stages}) == len(stages)
    places = [traced.cuts.index(stage.cut) for stage in stages]
    assert places == sorted(set(places))
    assert stages[-1].name == classifier_names(module)[0]
    for head in classifier_names(module):
        assert stages[-1].holds(f"{head}.weight")
        assert not any(stage.holds(f"{head}.weight") for stage in stages[:-1])
    used = {name for name, _ in traced.graph.named_parameters()}
    assert all(any(stage.holds(name) for stage in stages) for name in used)


def check_parts(traced: Traced, images: torch.Tensor, whole: torch.Tensor, cut: str) -> None:
    """Prefix and suffix are the network to the bit, and share out its parameters."""
    prefix, suffix = traced.split(cut)
    value = outputs(prefix, images)
    assert len(value) == len(images)
    assert torch.equal(outputs(suffix, value), whole), cut
    used = {
        str(node.target) for node in suffix.graph.nodes if node.op in ("call_module", "get_attr")
    }
    for name, _ in suffix.named_parameters():
        assert any(name == path or name.startswith(path + ".") for path in used), name


def check_freezing(traced: Traced, module: nn.Module) -> Freezing:
    found = freezing(traced, module, freeze="0.5")
    names = {name for name, _ in module.named_parameters()}
    assert names == (found.frozen | set(found.trainable)) & names
    assert not found.frozen & set(found.trainable)
    prefix, suffix = traced.split(found.cut)
    assert not {name for name, _ in prefix.named_parameters()} & set(found.trainable)
    learned = {name for name, _ in suffix.named_parameters()} & set(found.trainable)
    assert {f"{head}.weight" for head in classifier_names(module)} <= learned
    return found


def check_step(module: nn.Module, images: torch.Tensor, found: Freezing, prefix: nn.Module) -> None:
    """A step of the suffix in training mode changes what is trainable, and nothing else."""
    before = {name: value.clone() for name, value in module.named_parameters()}
    features = outputs(prefix, images).clone()
    suffix = trace(module.train()).suffix(found.cut)
    torch.manual_seed(0)  # dropout could leave a head without gradient
    learnt = {n: p for n, p in suffix.named_parameters() if n not in found.frozen}
    optimizer = torch.optim.Rprop(learnt.values(), lr=1e-3)  # one size of step for all
    loss = functional.cross_entropy(suffix(features), torch.tensor([0, 2]))
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    module.eval()
    after = dict(module.named_parameters())
    for name, value in before.items():
        gradient = after[name].grad if name in learnt else None
        assert torch.equal(after[name], value) == (gradient is None or not gradient.any()), name
    for head in classifier_names(module):
        assert not torch.equal(after[f"{head}.weight"], before[f"{head}.weight"])
    assert {name for name, p in learnt.items() if p.grad is None} == set()


def check_saving(network: Network, images: torch.Tensor, folder: Path) -> None:
    save_network(network, folder, CLASSES)
    loaded, classes = load_network(folder)
    assert classes == CLASSES
    assert torch.equal(outputs(loaded.module, images), outputs(network.module, images))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_keeps_its_promises(name: str, tmp_path: Path) -> None:
    network = made(name)
    module = network.module
    shape = (2, network.channels, *network.preprocess.input_size)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    whole = outputs(module, images)
    assert whole.shape == (2, len(CLASSES))
    assert torch.isfinite(whole).all()
    traced = trace(module)
    check_stages(traced, module)
    found = check_freezing(traced, module)
    cuts = [stage.cut for stage in traced.stages]
    for cut in {INPUT, cuts[0], cuts[len(cuts) // 2], traced.before_classifier(), found.cut}:
        check_parts(traced, images, whole, cut)
    check_step(module, images, found, traced.prefix(found.cut))
    check_saving(network, images, tmp_path / "model")


def test_at_least_forty_families_are_tried() -> None:
    assert len(ARCHITECTURES) >= 40
