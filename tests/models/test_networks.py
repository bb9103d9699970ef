from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.data import create_transform, resolve_model_data_config

from bowerbird.config import NetworkConfig, Preprocess
from bowerbird.data.images import load_input
from bowerbird.errors import ConfigError, ModelError, RunError, WeightsError
from bowerbird.features.extraction import to_network
from bowerbird.models.networks import (
    Network,
    create_model,
    from_config,
    load_network,
    save_network,
)
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


STRUCTURES: list[tuple[str, dict[str, Any]]] = [
    ("test_resnet", {"head": "16,8", "head_dropout": 0.3}),
    ("test_resnet", {"head": "cosine"}),
    ("test_resnet", {"head_dropout": 0.3}),
    ("test_resnet", {"channels": 1}),
    ("test_vit", {"channels": 4, "image_size": 64, "head": "cosine", "head_dropout": 0.1}),
    ("test_resnet", {"surgery": ["append layer1 Conv2d(_, 32, 1)", "replace layer4 Identity()"]}),
    (
        "test_resnet",
        {"surgery": ["insert fc BatchNorm1d(_)"], "head": "8", "channels": 1, "image_size": 48},
    ),
    ("test_resnet", {"surgery": ["append fc Softmax(dim=1)"]}),
    # without pooling the size of the image counts
    (
        "test_resnet",
        {"surgery": ["replace global_pool Flatten()", "append fc Tanh()"], "image_size": 48},
    ),
    ("torchvision:squeezenet1_1", {"image_size": 64, "channels": 4, "head": "16"}),
    (
        "torchvision:squeezenet1_1",
        {"image_size": 64, "head": "cosine", "surgery": ["cut features.9"]},
    ),
    ("torchvision:googlenet", {"image_size": 64, "channels": 1, "head": "8"}),
    (
        "deit_tiny_distilled_patch16_224",
        {"image_size": 32, "embed_dim": 24, "depth": 1, "num_heads": 2, "head": "8"},
    ),
    (
        "deit_tiny_distilled_patch16_224",
        {"image_size": 32, "embed_dim": 24, "depth": 1, "num_heads": 2},
    ),
]


@pytest.mark.parametrize(("name", "more"), STRUCTURES)
def test_every_structure_comes_back_with_the_same_scores(
    tmp_path: Path, name: str, more: dict[str, Any]
) -> None:
    network = small(name, seed=3, **more)
    save_network(network, tmp_path / "model", CLASSES)
    facts = json.loads((tmp_path / "model" / "bowerbird.json").read_text())
    assert facts["channels"] == network.channels == more.get("channels", 3)
    assert facts["head"] == more.get("head", "linear")
    assert "_" not in "".join(facts["surgery"]).replace("_pool", "")
    loaded, _ = load_network(tmp_path / "model")
    assert repr(loaded.module) == repr(network.module)
    assert loaded.to_dict() == network.to_dict()
    assert fingerprint(loaded.module) == fingerprint(network.module)
    images = torch.randn(2, network.channels, *network.preprocess.input_size)
    assert torch.equal(outputs(loaded, images), outputs(network, images))
    assert not any(part.training for part in loaded.module.modules())


def test_one_operation_needs_no_list() -> None:
    assert small(surgery="append layer1 ReLU()").surgery == ("append layer1 ReLU()",)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_scores_of_an_image_file_are_the_same_after_loading(tmp_path: Path, channels: int) -> None:
    draw(0, size=60).save(tmp_path / "a.png")
    network = small(channels=channels, head="8", image_size=32)
    save_network(network, tmp_path / "model", CLASSES)
    loaded, _ = load_network(tmp_path / "model")

    def scores(one: Network) -> torch.Tensor:
        pixels = load_input(tmp_path / "a.png", one.preprocess)
        assert pixels.shape == (32, 32, channels)
        return outputs(one, to_network(pixels[np.newaxis], one.preprocess, torch.device("cpu")))

    assert torch.equal(scores(loaded), scores(network))


def test_a_description_from_before_there_were_structures_still_loads(tmp_path: Path) -> None:
    network = small()
    save_network(network, tmp_path, CLASSES)
    facts = json.loads((tmp_path / "bowerbird.json").read_text())
    old = {k: v for k, v in facts.items() if k not in ("channels", "surgery", "head")}
    del old["head_dropout"]
    (tmp_path / "bowerbird.json").write_text(json.dumps(old))
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(outputs(load_network(tmp_path)[0], images), outputs(network, images))


@pytest.mark.parametrize("channels", [1, 4])
def test_plain_timm_loads_other_channels_as_they_are(tmp_path: Path, channels: int) -> None:
    network = small(channels=channels)
    save_network(network, tmp_path, CLASSES)
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.randn(2, channels, 64, 64)
    with torch.inference_mode():
        assert torch.equal(theirs(images), outputs(network, images))
    again = create_model(f"local-dir:{tmp_path}")
    assert again.channels == channels
    assert again.preprocess == network.preprocess
    assert torch.equal(outputs(again, images), outputs(network, images))


def test_plain_timm_loads_two_classifiers(tmp_path: Path) -> None:
    more = {"image_size": 32, "embed_dim": 24, "depth": 1, "num_heads": 2}
    network = small("deit_tiny_distilled_patch16_224", **more)
    save_network(network, tmp_path, CLASSES)
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(theirs(images), outputs(network, images))
    other = create_model(f"local-dir:{tmp_path}", num_classes=5)
    assert outputs(other, images).shape == (2, 5)


@pytest.mark.parametrize(
    "more", [{"head": "8"}, {"head_dropout": 0.1}, {"surgery": ["append layer1 ReLU()"]}]
)
def test_a_changed_network_is_no_starting_point_by_name(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    save_network(small(**more), tmp_path, CLASSES)
    with pytest.raises(ModelError, match=r"was changed .*Load it with bowerbird.load_network"):
        create_model(f"local-dir:{tmp_path}")
    (tmp_path / "bowerbird.json").write_text("[]")
    with pytest.raises(RunError, match="can't be read"):
        create_model(f"local-dir:{tmp_path}")


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
        ("channels", 4),
        ("channels", 0),
        ("channels", "3"),
        ("head", "8"),
        ("head", 8),
        ("head", "magic"),
        ("head_dropout", 2),
        ("surgery", ["cut nowhere"]),
        ("surgery", ["replace layer4 Identity()"]),
        ("surgery", "cut layer1"),
        ("surgery", [3]),
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
        ({"channels": 0}, "at least one input channel. Found: channels=0"),
        ({"features_only": True}, "test_resnet doesn't take these arguments"),
        ({"foo": 1}, "test_resnet doesn't take these arguments: .*foo"),
        ({"act_layer": torch.nn.GELU}, "must be plain values.*by name"),
        ({"block": "no such block"}, "test_resnet "),
    ],
)
def test_impossible_arguments(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        small(**arguments)
    assert issubclass(WeightsError, ModelError)


def test_the_settings_name_a_network() -> None:
    config = NetworkConfig(
        model="test_resnet",
        pretrained=False,
        image_size=48,
        channels=1,
        model_arg=("global_pool=max", "drop_rate=0.2"),
        head="8",
        head_dropout=0.25,
        surgery=("append layer1 BatchNorm2d(_)",),
    )
    network = from_config(config, 3, seed=4)
    expected = small(
        image_size=48,
        channels=1,
        global_pool="max",
        drop_rate=0.2,
        head="8",
        head_dropout=0.25,
        surgery=["append layer1 BatchNorm2d(32)"],
        seed=4,
    )
    assert network.to_dict() == expected.to_dict()
    assert fingerprint(network.module) == fingerprint(expected.module)
    assert network.surgery == ("append layer1 BatchNorm2d(32)",)
    assert from_config(NetworkConfig(model="test_resnet", weights="none"), None, 0).num_classes > 3


@pytest.mark.parametrize("more", [{"channels": 7}, {"channels": 2}, {"model_arg": ("in_chans=5",)}])
def test_settings_for_image_files_take_no_other_channels(more: dict[str, Any]) -> None:
    config = NetworkConfig(model="test_resnet", weights="none", **more)
    with pytest.raises(ConfigError, match=r"1 channel \(grey\), 3 \(colour\) or 4"):
        from_config(config, 3, seed=0)


@pytest.mark.parametrize("name", ["num_classes", "seed", "weights", "head", "channels"])
def test_what_has_a_setting_of_its_own_is_no_argument(name: str) -> None:
    config = NetworkConfig(model="test_resnet", weights="none", model_arg=(f"{name}=3",))
    with pytest.raises(ConfigError, match=f"model_arg can't set {name}"):
        from_config(config, 3, seed=0)


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


def test_the_packaged_preprocessing_is_that_of_its_authors() -> None:
    assert create_model().preprocess == Preprocess(
        input_size=(224, 224),
        crop_pct=0.875,
        interpolation="bicubic",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
