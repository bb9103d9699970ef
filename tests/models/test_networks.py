from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.data import create_transform, resolve_model_data_config
from torchvision import models

from bowerbird.config import Preprocess
from bowerbird.data.images import load_input
from bowerbird.errors import ModelError, RunError, WeightsError
from bowerbird.models.networks import Network, create_model, load_network, save_network
from bowerbird.models.weights import fingerprint
from drawing import draw

CLASSES = ("a", "ü b", "花")


def small(name: str = "test_resnet", **more: Any) -> Network:
    return create_model(name, **({"num_classes": 3, "weights": "none"} | more))


def outputs(network: Network, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = network.module(images)
    return result


@pytest.mark.parametrize(
    ("name", "size", "arguments"),
    [
        ("test_resnet", None, {}),
        ("test_resnet", 96, {"global_pool": "max"}),
        ("test_vit", 64, {}),
        ("test_convnext.r160_in1k", None, {}),
        (
            "swin_tiny_patch4_window7_224",
            56,
            {"embed_dim": 24, "depths": [1, 1], "num_heads": [1, 2]},
        ),
        ("torchvision:squeezenet1_1", 64, {}),
        ("torchvision:googlenet", 64, {"transform_input": True}),
    ],
)
def test_a_network_comes_back_from_its_folder(
    tmp_path: Path, name: str, size: int | None, arguments: dict[str, Any]
) -> None:
    network = small(name, image_size=size, **arguments)
    save_network(network, tmp_path / "model", CLASSES)
    loaded, classes = load_network(tmp_path / "model")
    images = torch.randn(2, 3, *network.preprocess.input_size)
    assert torch.equal(outputs(loaded, images), outputs(network, images))
    assert classes == CLASSES
    assert (loaded.name, loaded.num_classes) == (network.name, 3)
    assert (loaded.preprocess, dict(loaded.arguments)) == (
        network.preprocess,
        dict(network.arguments),
    )
    assert not any(part.training for part in loaded.module.modules())
    assert repr(loaded).startswith(f"Network({name}, ")
    json.dumps(loaded.to_dict())


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "tf_efficientnet_lite0"])
def test_plain_timm_loads_the_folder(tmp_path: Path, name: str) -> None:
    preprocess = Preprocess(
        input_size=(96, 96),
        crop_pct=0.9,
        crop_mode="squash",
        interpolation="bilinear",
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
    )
    network = small(name, image_size=96)
    network = Network(
        network.module, name, 3, preprocess, network.weights, arguments=network.arguments
    )
    save_network(network, tmp_path, CLASSES)
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        assert torch.equal(theirs(images), outputs(network, images))
    found = resolve_model_data_config(theirs)
    assert {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()} == {
        "input_size": [3, 96, 96],
        "interpolation": "bilinear",
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "crop_pct": 0.9,
        "crop_mode": "squash",
    }
    assert theirs.pretrained_cfg["label_names"] == list(CLASSES)


def test_timm_prepares_images_as_we_do(tmp_path: Path) -> None:
    network = small(image_size=96)
    save_network(network, tmp_path, CLASSES)
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    transform = create_transform(**resolve_model_data_config(theirs))
    picture = draw(0, size=180)
    picture.save(tmp_path / "a.png")
    ours = load_input(tmp_path / "a.png", network.preprocess).astype(np.float32) / 255
    mean, std = (np.array(v, np.float32) for v in (network.preprocess.mean, network.preprocess.std))
    difference = np.abs((ours - mean) / std - transform(picture).permute(1, 2, 0).numpy())
    assert difference.max() <= 2.01 / 255 / min(network.preprocess.std)
    assert (difference > 1e-4).mean() < 0.02


def test_our_own_folders_and_timms_are_taken_as_networks_and_weights(tmp_path: Path) -> None:
    network = small("test_vit", image_size=64, seed=3)
    save_network(network, tmp_path / "m", CLASSES)
    again = create_model(f"local-dir:{tmp_path / 'm'}", offline=True)
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(outputs(again, images), outputs(network, images))
    assert (again.name, again.num_classes) == ("test_vit", 3)
    assert again.preprocess == network.preprocess
    save_network(again, tmp_path / "second", CLASSES)
    assert torch.equal(
        outputs(load_network(tmp_path / "second")[0], images), outputs(again, images)
    )
    other = create_model(f"local-dir:{tmp_path / 'm'}", num_classes=5)
    assert other.num_classes == outputs(other, images).shape[1] == 5
    body = create_model(
        "test_vit", num_classes=5, image_size=64, weights=f"local-dir:{tmp_path / 'm'}"
    )
    assert torch.equal(body.module.pos_embed, network.module.pos_embed)


@pytest.mark.parametrize(
    "config", [None, b"", b"\xff", b"[]", b"{}", b'{"architecture": "x"}', b"null"]
)
def test_a_folder_without_a_sound_configuration(tmp_path: Path, config: bytes | None) -> None:
    if config is not None:
        (tmp_path / "config.json").write_bytes(config)
    with pytest.raises(ModelError):
        create_model(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("name", ["model.safetensors", "bowerbird.json"])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "other"])
def test_a_damaged_folder_is_a_damaged_run(tmp_path: Path, name: str, damage: str) -> None:
    save_network(small(), tmp_path / "m", CLASSES)
    save_network(small("test_convnext"), tmp_path / "other", CLASSES)
    file = tmp_path / "m" / name
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "other":
        file.write_bytes((tmp_path / "other" / name).read_bytes())
    else:
        file.write_bytes(data[: len(data) // 2 if damage == "cut" else 0])
    with pytest.raises(RunError, match=f"The model in {tmp_path / 'm'} is damaged or missing"):
        load_network(tmp_path / "m")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "resnet81"),
        ("name", 5),
        ("num_classes", 4),
        ("num_classes", None),
        ("num_classes", 0),
        ("classes", ["a"]),
        ("classes", None),
        ("arguments", {"global_pool": "magic", "foo": 1}),
        ("arguments", [1]),
        ("preprocess", {"crop_pct": 7}),
        ("weights", {}),
        ("weights", "x"),
    ],
)
def test_a_changed_description_is_never_believed(tmp_path: Path, key: str, value: Any) -> None:
    save_network(small(), tmp_path, CLASSES)
    facts = json.loads((tmp_path / "bowerbird.json").read_text())
    (tmp_path / "bowerbird.json").write_text(json.dumps(facts | {key: value}))
    with pytest.raises(RunError, match="is damaged or missing"):
        load_network(tmp_path)


def test_weights_are_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with weights is finished, so whatever kills the process, the rest must be there."""
    written: list[str] = []
    replace = Path.replace

    def watch(self: Path, target: Path) -> Path:
        written.append(Path(target).name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watch)
    save_network(small(), tmp_path, CLASSES)
    assert sorted(written) == sorted(p.name for p in tmp_path.iterdir())
    assert written[-1] == "model.safetensors"


def test_a_disk_that_fills_up_keeps_the_model_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    save_network(small(seed=1), tmp_path, CLASSES)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left"):
        save_network(small(seed=2), tmp_path, CLASSES)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["test_resnet", "torchvision:squeezenet1_1"])
def test_the_seed_alone_draws_the_weights(name: str) -> None:
    torch.manual_seed(1)
    one = fingerprint(small(name, seed=7).module)
    torch.manual_seed(2)
    assert fingerprint(small(name, seed=7).module) == one
    assert fingerprint(small(name, seed=8).module) != one


def test_the_same_seed_draws_the_same_head_on_packaged_weights() -> None:
    heads = [
        create_model(num_classes=3, seed=s).module.get_parameter("classifier.weight")
        for s in (0, 0, 1)
    ]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_the_global_generator_is_untouched() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    small()
    with pytest.raises(ModelError):
        create_model("resnet81")
    with pytest.raises(ModelError):
        small(foo=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("resnet81", "resnet18"),
        ("ResNet18", "resnet18"),
        ("tf_efficientnet_lit0", "tf_efficientnet_lite0"),
        ("torchvision:alexnt", "torchvision:alexnet"),
        ("resnet18.no_such_tag", "resnet18."),
        ("timm/resnet18", "resnet18"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_name(name: str, nearest: str) -> None:
    with pytest.raises(ModelError, match=f"no network called '{name}'. Did you mean .*{nearest}"):
        create_model(name)


@pytest.mark.parametrize("name", ["", ".", "@@@", "local-dir:", "hf-hub:"])
def test_a_name_like_nothing(name: str) -> None:
    with pytest.raises(ModelError):
        create_model(name, offline=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_classes": 0}, "at least one class. Found: num_classes=0"),
        ({"num_classes": -3}, "at least one class"),
        ({"foo": 1}, "test_resnet doesn't take these arguments: .*foo"),
        ({"act_layer": torch.nn.GELU}, "must be plain values.*by name"),
        ({"block": "no such block"}, "test_resnet "),
    ],
)
def test_impossible_arguments(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        small(**arguments)
    assert issubclass(WeightsError, ModelError)


def test_networks_of_torchvision_with_a_fixed_size_say_so() -> None:
    with pytest.raises(ModelError, match=r"only takes images of 224 pixels, not 96"):
        small("torchvision:vit_b_32", image_size=96)


def test_a_transformer_is_made_for_the_size_asked_for() -> None:
    network = small("test_vit", image_size=64)
    assert network.preprocess.input_size == (64, 64)
    assert outputs(network, torch.randn(1, 3, 64, 64)).shape == (1, 3)


def test_pretrained_googlenet_keeps_its_own_input_scaling_when_it_is_loaded_again(
    tmp_path: Path,
) -> None:
    torch.save(
        small("torchvision:googlenet", num_classes=1000).module.state_dict(), tmp_path / "g.pth"
    )
    network = small("torchvision:googlenet", weights=str(tmp_path / "g.pth"))
    assert network.module.transform_input
    save_network(network, tmp_path / "m", CLASSES)
    loaded, _ = load_network(tmp_path / "m")
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(outputs(loaded, images), outputs(network, images))


@pytest.mark.parametrize("short", models.list_models(module=models))
def test_torchvision_preprocessing_is_torchvisions(short: str) -> None:
    from bowerbird.models.networks import _torchvision_preprocess

    weights = models.get_model_weights(short).DEFAULT
    theirs, ours = weights.transforms(), _torchvision_preprocess(weights, None)
    crop, resize = theirs.crop_size[0], theirs.resize_size[0]
    assert ours.input_size == (crop, crop)
    assert math.floor(crop / ours.crop_pct) == max(resize, crop)
    assert ours.mean == tuple(theirs.mean)
    assert ours.interpolation == theirs.interpolation.value


def test_the_packaged_preprocessing_is_that_of_its_authors() -> None:
    assert create_model().preprocess == Preprocess(
        input_size=(224, 224),
        crop_pct=0.875,
        interpolation="bicubic",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
