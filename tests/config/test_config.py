from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from bowerbird.config import (
    NetworkConfig,
    Preprocess,
    ReadConfig,
    Recipe,
    Settings,
    SplitConfig,
    TrainConfig,
    load_recipe,
    parse_duration,
    validated,
)
from bowerbird.errors import ConfigError


@pytest.mark.parametrize("group", Settings.__subclasses__(), ids=lambda g: g.__name__)
def test_every_setting_has_a_description(group: type[BaseModel]) -> None:
    for name, field in group.model_fields.items():
        nested = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        assert nested or (field.description or "").endswith("."), f"{group.__name__}.{name}"


@pytest.mark.parametrize("group", Settings.__subclasses__(), ids=lambda g: g.__name__)
def test_defaults_are_valid_and_frozen(group: type[Settings]) -> None:
    made = group()
    name = next(iter(group.model_fields))
    with pytest.raises(ValueError, match="frozen"):
        setattr(made, name, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("5m", 300), ("1.5h", 5400), (" 2 M ", 120), (7, 7), (0.5, 0.5)],
)
def test_parse_duration(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "0", "0s", "-5m", "nan", "inf", "infs", "5 days", "5mm", "abc", "1e400h"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"not a duration. Write for example 90s, 5m or 1.5h"):
        parse_duration(text)
    with pytest.raises(ConfigError, match="not a duration"):
        validated(TrainConfig, {"budget": text}, "here")


@given(st.text())
def test_parse_duration_answers_or_refuses(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ConfigError:
        return
    assert seconds is not None
    assert 0 < seconds < math.inf


def test_budget_in_seconds() -> None:
    assert TrainConfig().budget_seconds is None
    assert TrainConfig(budget="2m").budget_seconds == 120


def recipe() -> Recipe:
    return Recipe(
        data="Blumen & Bäume/ü \" ' \\ 花",
        read=ReadConfig(label_column="Klasse", image_root=Path("a b/c")),
        split=SplitConfig(val=0.2, test=20, split_seed=3),
        network=NetworkConfig(
            model="alexnet", pretrained=False, channels=1, head="1024,256",
            model_arg=("a=1", "b=x"),
            surgery=("cut features.6", "append features Conv2d(_, 8, 3)"),
        ),
        train=TrainConfig(
            budget="5m", learning_rate=3e-4, epochs=3, mixup=0.2, refit=True, method="gradual",
            unfreeze=("0=head", "4=layer4"), batch_size="auto",
        ),
    )  # fmt: skip


def test_a_recipe_comes_back_from_toml(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    for one in (Recipe(), recipe()):
        file.write_text(one.to_toml(), encoding="utf-8")
        assert load_recipe(file) == one


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(recipe().to_toml(), encoding="utf-8-sig")
    assert load_recipe(file) == recipe()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[train]\nepoch = 3", r"no setting train.epoch in the recipe .*Did you mean train.epochs"),
        ("[train]\nval = 0.2", "no setting train.val .*Did you mean split.val"),
        ("[split]\nlabel_colum = 'a'", "split.label_colum.*Did you mean read.label_column"),
        ("qqqqqq = 1", "no setting qqqqqq.*Known: data, network.channels"),
        ("[train]\nepochs = 0", "train.epochs in .*greater than or equal to 1. Found: 0"),
        ("[train]\nepochs = 'many'", "train.epochs in .*Found: 'many'"),
        ("[train]\nmethod = 'magic'", "train.method in .*'probe'.*Found: 'magic'"),
        ("[train]\nlearning_rate = inf", "train.learning_rate in .*finite"),
        ("[train]\nlearning_rate = nan", "train.learning_rate in "),
        ("train = 5", "train in the recipe .*Found: 5"),
        ("[split]\nval = -0.1", "split.val in "),
        ("[train]\nbudget = 'long'", "'long' is not a duration"),
        ("[train\n", "is not valid TOML"),
        ("[network]\nhead = 'deep'", "network.head in .*: write linear, cosine.*Found: 'deep'"),
        ("[network]\nsurgery = 'cut x'", "network.surgery in .*: Input should be a list"),
        ("[train]\nmodel = 'resnet18'", "no setting train.model .*Did you mean network.model"),
        ("[train]\nbatch_size = 1", r"train.batch_size in .*to 2 or .*'auto'. Found: 1\.$"),
        ("[train]\nunfreeze = {0 = 'head'}", r"train in .*: .*gradual, not for auto\.$"),
        ("[train]\nfreeze = '0.8'\nfreeze_until = 'a'", r"train in .*: .*both be set\.$"),
        ("[train]\nnesterov = true", r"train in .*: nesterov is a form of sgd"),
        (
            "[train]\noptimizer = 'sgd'\nnesterov = true\nmomentum = 0",
            r"train in .*: .*momentum above 0\.$",
        ),
        (
            "[train]\nmethod = 'gradual'\nbudget = '1m'\nunfreeze = {0 = 'head'}",
            "the epochs count, not a budget",
        ),
    ],
)
def test_a_mistake_in_a_recipe_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_recipe(file)


def test_a_recipe_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing.toml can't be read: No such file"):
        load_recipe(tmp_path / "nothing.toml")
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        load_recipe(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"data = 'caf\xe9'")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        load_recipe(tmp_path / "latin.toml")


# The network


def test_pretrained_off_is_weights_none() -> None:
    assert NetworkConfig(weights="local-dir:x").source == "local-dir:x"
    assert NetworkConfig(weights="local-dir:x", pretrained=False).source == "none"


def test_arguments_of_the_network_are_python_values() -> None:
    given = NetworkConfig(
        model_arg=("base_width=48", "layers=[3, 4]", " norm = layer ", "a=", "x=None", "b=c=d")
    )
    assert given.arguments == {
        "base_width": 48, "layers": [3, 4], "norm": "layer", "a": "", "x": None, "b": "c=d"
    }  # fmt: skip
    assert NetworkConfig().arguments == {}


@pytest.mark.parametrize("text", ["width", "=3", "2x=3", "a b=1", ""])
def test_what_is_no_argument_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="model_arg in here: write NAME=VALUE"):
        validated(NetworkConfig, {"model_arg": [text]}, "here")


@pytest.mark.parametrize("head", ["linear", "cosine", "512", "1024,256"])
def test_heads(head: str) -> None:
    assert NetworkConfig(head=head).head == head


@pytest.mark.parametrize("head", ["", "mlp", "0", "-5", "512,", "512, 256", "1.5", "012"])
def test_what_is_no_head_is_refused(head: str) -> None:
    with pytest.raises(ConfigError, match="head in here: write linear, cosine, or widths"):
        validated(NetworkConfig, {"head": head}, "here")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trim features.6", "write for example cut features.6; found 'trim features.6'"),
        ("cut", "write for example cut features.6; found 'cut'"),
        ("", "write for example cut features.6"),
        ("cut features.6 now", "cut takes a place only"),
        ("append features", "append takes a place and a layer"),
        ("insert features.3", "insert takes a place and a layer"),
        ("replace ", "write for example"),
    ],
)
def test_what_is_no_surgery_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"surgery in here: {words}"):
        validated(NetworkConfig, {"surgery": ["cut ok", text]}, "here")


# Gradual unfreezing


@pytest.mark.parametrize(
    "given",
    [
        {0: "head", 4: "layer4", 12: "layer3.0"},
        {"12": "layer3.0", "0": "head", "4": "layer4"},
        "0=head,4=layer4, 12=layer3.0",
        ["0=head", "4=layer4", "12=layer3.0"],
        ("0=head,4=layer4", "12=layer3.0"),
    ],
    ids=repr,
)
def test_unfreezing_is_spelt_as_table_text_or_list(given: object) -> None:
    settings = validated(TrainConfig, {"method": "gradual", "unfreeze": given}, "here")
    assert settings.unfreeze_steps == {0: "head", 4: "layer4", 12: "layer3.0"}
    assert list(settings.unfreeze_steps) == [0, 4, 12]


def test_unfreezing_in_toml(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    for text in (
        '[train]\nmethod = "gradual"\n[train.unfreeze]\n0 = "head"\n4 = "layer4"\n',
        '[train]\nmethod = "gradual"\nunfreeze = {0 = "head", 4 = "layer4"}\n',
        '[train]\nmethod = "gradual"\nunfreeze = "0=head,4=layer4"\n',
        '[train]\nmethod = "gradual"\nunfreeze = ["0=head", "4=layer4"]\n',
    ):
        file.write_text(text)
        assert load_recipe(file).train.unfreeze_steps == {0: "head", 4: "layer4"}


@pytest.mark.parametrize("given", ["head", "0=", "=head", "-1=head", "a=head", {"x": "head"}, 5])
def test_what_is_no_unfreezing_is_refused(given: object) -> None:
    with pytest.raises(ConfigError, match="unfreeze in here: write EPOCH=STAGE"):
        validated(TrainConfig, {"method": "gradual", "unfreeze": given}, "here")


def test_an_epoch_is_given_once() -> None:
    with pytest.raises(ConfigError, match="unfreeze in here: one epoch is given twice"):
        validated(TrainConfig, {"method": "gradual", "unfreeze": "4=layer4,04=layer3"}, "here")


# Augmentation


def test_preprocess_comes_back_from_json() -> None:
    one = Preprocess(input_size=(64, 96), crop_pct=0.9, mean=(0.1, 0.2, 0.3), std=(1, 1, 1))
    assert Preprocess.model_validate_json(one.model_dump_json()) == one


@pytest.mark.parametrize(
    "values",
    [{"crop_pct": 0}, {"crop_pct": 1.2}, {"interpolation": "magic"}, {"input_size": (1, 2, 3)}],
)
def test_an_impossible_preprocessing_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(values))} in here"):
        validated(Preprocess, values, "here")
