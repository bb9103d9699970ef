"""What every attribution promises: right places, nothing left behind, clear refusals (X3 to X8)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bowerbird.errors import ConfigError, DataError, MissingExtraError, ModelError
from bowerbird.explanation import attribution as module_of_attribution
from bowerbird.explanation.attribution import METHODS, Attributor, attribute, class_index
from bowerbird.explanation.faithfulness import randomised, rank_correlation
from bowerbird.explanation.maps import FORMULAS
from bowerbird.explanation.places import find_place
from bowerbird.explanation.results import enlarged
from bowerbird.models.cuts import classifier_names
from bowerbird.models.networks import create_model, set_classifier
from explanation import planted

FAMILIES: dict[str, tuple[int, dict[str, Any], str, tuple[int, int]]] = {
    # name: input size, arguments, the layer that is found, places of its map
    "beit_base_patch16_224": (
        64,
        {"depth": 2, "embed_dim": 48, "num_heads": 3},
        "blocks.1",
        (4, 4),
    ),
    "cait_xxs24_224": (64, {"depth": 2}, "blocks_token_only.1.norm1", (4, 4)),
    "coat_lite_tiny": (64, {}, "serial_blocks4.1.norm1", (2, 2)),
    "convnext_zepto_rms": (64, {}, "stages", (2, 2)),
    "deit_tiny_distilled_patch16_224": (64, {"depth": 2}, "blocks.1.norm1", (4, 4)),
    "densenet121": (64, {"growth_rate": 8, "block_config": [2, 2, 2, 2]}, "features", (2, 2)),
    "dpn48b": (64, {}, "features", (2, 2)),
    "efficientformer_l1": (224, {}, "norm", (7, 7)),
    "hrnet_w18_small": (64, {}, "final_layer", (2, 2)),
    "levit_128s": (96, {}, "stages", (2, 2)),
    "mixer_s32_224": (64, {}, "norm", (2, 2)),
    "mobilenetv3_small_050": (64, {}, "blocks", (2, 2)),
    "pit_ti_224": (96, {}, "transformers.2.blocks.3.norm1", (3, 3)),
    "pvt_v2_b0": (64, {}, "stages", (2, 2)),
    "regnetx_002": (64, {}, "s4", (2, 2)),
    "samvit_base_patch16_224": (
        64,
        {"depth": 2, "embed_dim": 48, "num_heads": 3, "global_attn_indexes": [1]},
        "neck",
        (4, 4),
    ),
    "swin_tiny_patch4_window7_224": (
        64,
        {"embed_dim": 24, "depths": [1, 1], "num_heads": [1, 2]},
        "norm",
        (8, 8),
    ),
    "test_efficientnet": (64, {}, "bn2", (2, 2)),
    "test_mambaout": (64, {}, "stages", (2, 2)),
    "test_maxvit": (64, {}, "norm", (2, 2)),
    "test_nfnet": (64, {}, "final_act", (2, 2)),
    "test_resnet": (64, {}, "layer4", (2, 2)),
    "test_vit": (64, {}, "blocks.5.norm1", (4, 4)),
    "tnt_s_patch16_224": (64, {"depth": 2}, "blocks.1.norm_out", (4, 4)),
    "torchvision:alexnet": (96, {}, "features", (2, 2)),
    "torchvision:googlenet": (64, {}, "inception5b", (2, 2)),
    "torchvision:squeezenet1_1": (64, {}, "features", (3, 3)),
    "torchvision:swin_t": (64, {}, "permute", (2, 2)),
    "torchvision:vit_b_16": (224, {}, "encoder.layers.encoder_layer_11.ln_1", (14, 14)),
    "twins_svt_small": (64, {"depths": [2, 2, 1, 1]}, "norm", (2, 2)),
    "vgg11": (64, {"mlp_ratio": 0.02}, "features", (2, 2)),
    "vit_small_patch16_dinov3": (
        64,
        {"depth": 2, "embed_dim": 48, "num_heads": 3},
        "norm",
        (4, 4),
    ),
    "xcit_nano_12_p16_224": (64, {"depth": 2}, "cls_attn_blocks.1.norm1", (4, 4)),
}


def images_of(count: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_a_map_without_being_told_where(name: str) -> None:
    size, arguments, layer, places = FAMILIES[name]
    network = create_model(name, num_classes=2, weights="none", image_size=size, **arguments)
    torch.manual_seed(0)
    set_classifier(network.module, 3)  # some begin with a classifier of zeros
    with torch.no_grad():
        for head in classifier_names(network.module):  # what speaks against one is for the other
            weight = network.module.get_submodule(head).get_parameter("weight")
            weight[1] = -weight[0]
    attributor, images = Attributor(network.module), images_of(1, size)
    found = [attributor(images, target) for target in range(3)]
    assert found[0].layer == layer
    assert found[0].maps.shape == (1, *places)
    assert all(np.isfinite(one.maps).all() for one in found)
    assert not all(one.empty[0] for one in found)
    with torch.no_grad():
        scores = network.module(images)
    assert np.allclose(found[0].probabilities, scores.softmax(1).numpy(), atol=1e-5)


def state_of(module: nn.Module) -> list[Any]:
    hooks = [
        (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks), m.training)
        for m in module.modules()
    ]
    gradients = [(p.requires_grad, p.grad is None) for p in module.parameters()]
    return [hooks, gradients, torch.is_grad_enabled()]


def small() -> nn.Module:
    """With a mix of modes and frozen layers, which must come back."""
    module = create_model("test_resnet", num_classes=3, weights="none", image_size=64).module
    module.train()
    module.get_submodule("layer2").eval()
    for parameter in module.get_submodule("layer1").parameters():
        parameter.requires_grad_(False)
    return module


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_left_behind(method: str) -> None:
    module, images = small(), images_of(2, 32)
    before, weights, pixels = state_of(module), copy.deepcopy(module.state_dict()), images.clone()
    options = {"rise": {"masks": 4}, "integrated-gradients": {"steps": 2}}.get(method, {})
    attribute(module, images, method=method, **options)
    assert state_of(module) == before
    assert torch.equal(images, pixels)
    for name, value in module.state_dict().items():
        assert torch.equal(value, weights[name]), name


@pytest.mark.parametrize("fails_in", ["layer3", "fc"], ids=["trunk", "head"])
def test_nothing_is_left_behind_after_a_failure(fails_in: str) -> None:
    module, images = small(), images_of(1, 64)
    place = find_place(module, images, "layer3" if fails_in == "fc" else "layer4")

    def fail(*_: object) -> None:
        raise ValueError("broken on purpose")

    handle = module.get_submodule(fails_in).register_forward_hook(fail)
    before = state_of(module)
    for layer in (place, None):
        with pytest.raises(ValueError, match="on purpose"):
            attribute(module, images, layer=layer)
        assert state_of(module) == before
    handle.remove()


class Gated(nn.Module):
    """A layer with a gate that is computed where nothing is recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate, self.fc = nn.Conv2d(3, 8, 3), _Gate(), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return self.fc((x * self.gate(x)).mean((2, 3)))


class _Gate(nn.Module):
    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x > 0).float()


def test_a_layer_without_gradients_is_not_the_one_to_look_at() -> None:
    assert find_place(Gated().eval(), images_of(1, 16)).name == "conv"


def test_an_attribution_inside_no_grad_or_inference_mode_works() -> None:
    module, images = small(), images_of(1, 64)
    expected = attribute(module, images).maps
    with torch.no_grad():
        assert np.array_equal(attribute(module, images).maps, expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        made_here = images_of(1, 64)
        assert np.array_equal(attribute(module, made_here).maps, expected)
        copied = copy.deepcopy(module)
        assert torch.is_inference_mode_enabled()
    assert expected.any()
    assert np.array_equal(attribute(module, made_here).maps, expected)
    assert np.array_equal(attribute(copied, images).maps, expected)


@pytest.mark.parametrize("method", [*FORMULAS, "integrated-gradients"])
def test_an_image_alone_is_the_same_in_a_batch(method: str) -> None:
    module, images = small(), images_of(9, 32)  # more than one batch
    options = {"steps": 4} if method == "integrated-gradients" else {}
    whole = attribute(module, images, method=method, target=1, **options).maps
    for i in (0, 7, 8):
        alone = attribute(module, images[i : i + 1], method=method, target=1, **options).maps[0]
        assert np.abs(alone - whole[i]).max() <= 1e-5 * max(np.abs(whole[i]).max(), 1e-6)


def test_other_precisions_and_memory_layouts_are_explained_in_float32() -> None:
    module, images = small().eval(), images_of(2, 64)
    expected = attribute(module, images, target=1)
    module.to(memory_format=torch.channels_last)
    assert np.allclose(attribute(module, images, target=1).maps, expected.maps, atol=1e-5)
    half = copy.deepcopy(module).to(torch.bfloat16)
    found = attribute(half, images.to(torch.bfloat16), target=1)
    assert next(half.parameters()).dtype == torch.bfloat16
    assert found.maps.dtype == np.float32
    assert rank_correlation(found.maps, expected.maps) > 0.9
    with torch.autocast("cpu", torch.bfloat16):
        assert np.array_equal(
            attribute(module, images, target=1).maps, attribute(module, images, target=1).maps
        )


def test_a_batch_larger_than_memory_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    module, images = small(), images_of(5, 64)
    expected = attribute(module, images).maps
    sizes: list[int] = []
    whole: Callable[..., Any] = Attributor._batch

    def limited(self: Attributor, inputs: torch.Tensor, *others: Any) -> Any:
        sizes.append(len(inputs))
        if len(inputs) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to …")
        return whole(self, inputs, *others)

    monkeypatch.setattr(Attributor, "_batch", limited)
    assert np.allclose(attribute(module, images).maps, expected, atol=1e-6)
    assert sizes == [5, 4, 2, 2, 1]


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(Attributor, "_batch", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        attribute(small(), images_of(4, 64))


def test_planted_evidence_is_found_and_a_distractor_is_not() -> None:
    module = planted.network()
    corners, images, classes = planted.boxes_and_images(40, seed=5)
    right, wrong = classes.tolist(), ((classes + 1) % 3).tolist()
    fewer = {"hirescam": 40, "integrated-gradients": 20, "occlusion": 20}
    for method, count in fewer.items():
        options = {"steps": 16} if method == "integrated-gradients" else {}
        found = attribute(module, images[:count], method=method, target=right[:count], **options)
        hits, energy = pointing(found.maps, corners)
        assert hits >= 0.95, method
        assert energy >= 4 * (planted.SIDE / planted.SIZE) ** 2, method
    hits, _ = pointing(attribute(module, images, target=wrong).maps, corners)
    assert hits <= 0.02
    blind = planted.network(trained=False, seed=3)
    hits, _ = pointing(attribute(blind, images, target=right).maps, corners)
    assert hits <= 0.20


def pointing(maps: np.ndarray, corners: np.ndarray) -> tuple[float, float]:
    """Share of maps whose hottest pixel is within 4 pixels of the box; mean heat inside it."""
    hits, energies = [], []
    for one, (top, left) in zip(maps, corners, strict=False):
        heat = np.maximum(enlarged(one, (planted.SIZE, planted.SIZE)), 0)
        y, x = np.unravel_index(heat.argmax(), heat.shape)
        near = (top - 4 <= y < top + planted.SIDE + 4) and (left - 4 <= x < left + planted.SIDE + 4)
        hits.append(bool(heat.any()) and near)
        inside = heat[top : top + planted.SIDE, left : left + planted.SIDE].sum()
        energies.append(inside / max(heat.sum(), 1e-12))
    return float(np.mean(hits)), float(np.mean(energies))


def test_maps_of_a_network_with_random_weights_are_others() -> None:
    network = create_model(num_classes=None, offline=True)
    images = images_of(4, 96).cumsum(2).cumsum(3) / 96  # smooth, as pictures are
    own = attribute(network, images, layer="bn2")
    targets = [int(t) for t in own.targets]
    other = attribute(randomised(network.module, images), images, layer="bn2", target=targets)
    known = [i for i in range(4) if not own.empty[i] and not other.empty[i]]
    assert len(known) >= 2
    assert np.mean([rank_correlation(own.maps[i], other.maps[i]) for i in known]) <= 0.3


def test_classes_and_contrasts() -> None:
    module, images = small(), images_of(3, 64)
    names = ("ant", "bee", "wasp")
    plain = attribute(module, images, classes=names)
    assert plain.targets.tolist() == plain.predicted.tolist()
    named = attribute(module, images, classes=names, target="bee")
    assert np.array_equal(named.maps, attribute(module, images, target=1).maps)
    each = attribute(module, images, target=[0, 1, 2])
    assert each.targets.tolist() == [0, 1, 2]
    same = attribute(module, images, target=1, against=1)
    assert same.empty.all()
    contrast = attribute(
        module, images, classes=names, target="bee", against="wasp", layer="layer4"
    )
    weight = module.get_parameter("fc.weight")
    with torch.no_grad():
        weight[1] -= weight[2]
    assert np.allclose(contrast.maps, attribute(module, images, target=1).maps, atol=1e-6)


def test_what_speaks_for_nothing_is_empty_and_not_nan() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)
    )
    with torch.no_grad():
        module[4].weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
    images = images_of(2, 8)
    for method in FORMULAS:
        found = attribute(module, images, method=method, layer="1", target=[0, 1])
        assert np.isfinite(found.maps).all(), method
        if method != "eigencam":
            assert found.empty.tolist() == [False, True], method
    images[1] = float("nan")
    found = attribute(module, images, layer="1", target=0)
    assert found.empty.tolist() == [False, True]
    assert not found.maps[1].any()
    assert "1 empty" in repr(found)


def test_a_layer_by_name() -> None:
    module, images = small(), images_of(1, 64)
    assert attribute(module, images, layer="layer2.0.conv1").maps.shape == (1, 8, 8)
    with pytest.raises(ModelError, match=r"no layer 'layer5'. Did you mean layer"):
        attribute(module, images, layer="layer5")
    with pytest.raises(ModelError, match=r"'fc' has no height and width .* layer4"):
        attribute(module, images, layer="fc")
    with pytest.raises(ConfigError, match="looks at no layer"):
        attribute(module, images, method="rise", layer="layer4")


def test_a_layer_that_runs_twice_is_looked_at_in_its_last_run() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
            self.act, self.fc = nn.ReLU(inplace=True), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.act(self.second(self.act(self.first(x))))
            scores: torch.Tensor = self.fc(x.mean((2, 3)))
            return scores

    torch.manual_seed(0)
    attributor = Attributor(Twice(), layer="act")
    assert attributor(images_of(1, 12)).maps.shape == (1, 8, 8)
    assert attributor.place is not None
    assert attributor.place.call == 1


def test_layers_that_write_into_their_input_change_nothing() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 2),
    )  # fmt: skip
    writing = copy.deepcopy(plain)
    writing[2] = nn.ReLU(inplace=True)
    images = images_of(2, 10)
    for layer in ("0", "1", "2"):
        expected = attribute(plain, images, layer=layer, target=0).maps
        assert np.array_equal(attribute(writing, images, layer=layer, target=0).maps, expected)


def test_compiled_and_traced_networks() -> None:
    module, images = small().eval(), images_of(1, 64)
    expected = attribute(module, images, target=0)
    compiled = torch.compile(module, backend="eager")
    assert np.array_equal(attribute(compiled, images, target=0).maps, expected.maps)
    from torch import fx

    graph = fx.symbolic_trace(module)
    found = attribute(graph, images, target=0, layer="layer4.0.act2")
    assert found.maps.shape == expected.maps.shape


def test_torchscript_is_refused_where_layers_are_looked_at() -> None:
    class Plain(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3))

    with pytest.warns(FutureWarning):
        script = torch.jit.script(Plain())
    with pytest.raises(ModelError, match="TorchScript"):
        attribute(script, images_of(1, 8))
    assert attribute(script, images_of(1, 8), method="rise", masks=8).maps.shape == (1, 8, 8)


def test_bad_values_are_refused() -> None:
    module, images = small(), images_of(2, 64)
    names = ("ant", "bee", "wasp")
    with pytest.raises(ConfigError, match=r"no method 'hirescan'. Did you mean hirescam"):
        attribute(module, images, method="hirescan")
    with pytest.raises(ConfigError, match=r"no class 'be'. Did you mean bee"):
        attribute(module, images, classes=names, target="be")
    with pytest.raises(ConfigError, match="indices go from 0 to 2"):
        attribute(module, images, target=3)
    with pytest.raises(ConfigError, match="2 class names were given for 3 scores"):
        attribute(module, images, classes=names[:2])
    with pytest.raises(ConfigError, match="3 classes were given for 2 images"):
        attribute(module, images, target=[0, 1, 2])
    with pytest.raises(DataError, match="at least one image"):
        attribute(module, images[:0])
    with pytest.raises(DataError, match=r"Found: \[3, 64, 64\]"):
        attribute(module, images[0])
    with pytest.raises(ConfigError, match=r"no option 'masc'. It takes masks, cells, shown"):
        attribute(module, images, method="rise", masc=3)
    with pytest.raises(ConfigError, match=r"no option .masks.\. It takes none"):
        attribute(module, images, masks=3)
    with pytest.raises(ConfigError, match="masks must be above 0"):
        attribute(module, images, method="rise", masks=0)
    grey = create_model("test_resnet", num_classes=3, weights="none", image_size=64, channels=1)
    with pytest.raises(DataError, match="takes 1 channels"):
        attribute(grey, images)
    with pytest.raises(ModelError, match="one score per class"):
        attribute(nn.Conv2d(3, 3, 1), images)
    with pytest.raises(ModelError, match="No layer of Sequential has a height"):
        attribute(nn.Sequential(nn.Flatten(), nn.Linear(12288, 2)), images)
    assert class_index("2", ("0", "1", "2")) == 2


def test_without_captum_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = builtins.__import__

    def missing(name: str, *others: Any, **named: Any) -> Any:
        if name.startswith("captum"):
            raise ImportError(name)
        return real(name, *others, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtraError, match=r"bowerbird\[attribution\]"):
        attribute(small(), images_of(1, 32), method="occlusion")
    assert module_of_attribution.METHODS[0] == "hirescam"
