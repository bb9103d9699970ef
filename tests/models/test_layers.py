from __future__ import annotations

from pathlib import Path

import pytest

from bowerbird.errors import ModelError
from bowerbird.models.layers import LAYERS, build

INCOMING = (2, 5, 6, 7)


def shown(text: str) -> tuple[str, str]:
    layer, resolved = build(text, lambda: INCOMING)
    return repr(layer), resolved


@pytest.mark.parametrize(
    ("text", "layer", "resolved"),
    [
        ("ReLU(inplace=True)", "ReLU(inplace=True)", "ReLU(inplace=True)"),
        (
            "Conv2d(_, 8, (3, 1), padding=(1, 0))",
            "Conv2d(5, 8, kernel_size=(3, 1), stride=(1, 1), padding=(1, 0))",
            "Conv2d(5, 8, (3, 1), padding=(1, 0))",
        ),
        (
            "Conv2d(_, _, 1, groups=_)",
            "Conv2d(5, 5, kernel_size=(1, 1), stride=(1, 1), groups=5)",
            "Conv2d(5, 5, 1, groups=5)",
        ),
        ("Linear(_, 4)", "Linear(in_features=7, out_features=4, bias=True)", "Linear(7, 4)"),
        ("nn.Softmax(dim=-1)", "Softmax(dim=-1)", "nn.Softmax(dim=-1)"),
        ("torch.nn.Identity()", "Identity()", "torch.nn.Identity()"),
        ("LayerNorm([_])", "LayerNorm((7,), eps=1e-05, elementwise_affine=True, bias=True)", None),
    ],
)
def test_a_layer_is_built_from_its_text(text: str, layer: str, resolved: str | None) -> None:
    made, written = shown(text)
    assert made == layer
    assert resolved in (None, written)
    assert repr(build(written, tuple)[0]) == layer


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "can't be read"),
        ("ReLU", "is not written as a call"),
        ("Conv2d(_, 64", "can't be read"),
        ("x = ReLU()", "can't be read"),
        ("ReLU()()", "is not written as a call"),
        ("ReLU()\0", "can't be read"),
        ("(" * 9000, "can't be read"),
        ("Conv2D(_, 3, 3)", "no layer 'Conv2D' that can be put in. Did you mean Conv2d"),
        ("relu()", "Did you mean ReLU"),
        ("Foobarbaz()", "no layer 'Foobarbaz' that can be put in. See"),
        ("Sequential(ReLU())", "no layer 'Sequential'"),
        ("CrossEntropyLoss()", "no layer 'CrossEntropyLoss'"),
        ("LazyLinear(3)", "no layer 'LazyLinear'"),
        ("Module()", "no layer 'Module'"),
        ("functional.relu()", "no layer 'functional.relu'"),
        ("MaxPool2d(_)", r"MaxPool2d takes none of it \(here 5 × 6 × 7 come in\)"),
        ("Linear(3, 4, device='meta')", "device, dtype"),
        ("Linear(3, 4, True, 'meta')", "on another device"),
        ("Linear(**{})", "device, dtype"),
        ("Linear(*[3, 4])", "is not a plain value"),
        ("Linear(3, 2 ** 70)", r"2 \*\* 70 is not a plain value"),
        ("Linear(ReLU(), 3)", r"ReLU\(\) is not a plain value"),
        ("Linear(3)", "can't be made: .*out_features"),
        ("Linear(3, 'a')", "can't be made"),
        ("Linear(3, -4)", "can't be made"),
        ("Linear(3, 0)", "can't be made"),
        ("Conv2d(_, 8, 3, groups=2)", "can't be made: in_channels must be divisible by groups"),
        ("Conv2d(_, 8, 3, foo=2)", "can't be made: .*foo"),
    ],
)
def test_what_is_no_layer_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        shown(text)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text",
    [
        "__import__('pathlib').Path('trap').touch()",
        "Linear(__import__('pathlib').Path('trap').touch(), 3)",
        "Linear([Path('trap').touch() for _ in range(1)], 3)",
        "Linear(3, (lambda: 4)())",
        "Identity.__init__.__globals__['os']()",
    ],
)
def test_nothing_is_evaluated(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError):
        shown(text)
    assert not list(tmp_path.iterdir())


def test_a_size_is_only_asked_for_where_it_is_used() -> None:
    def fail() -> tuple[int, ...]:
        raise AssertionError("asked")

    build("Conv2d(3, 4, 1)", fail)
    with pytest.raises(AssertionError, match="asked"):
        build("Conv2d(_, 4, 1)", fail)
    with pytest.raises(ModelError, match="takes none of it"):
        build("Linear(_, 4)", lambda: (2,))


def test_the_layers_are_those_of_torch() -> None:
    assert {"Conv2d", "Linear", "Softmax", "Identity", "MultiheadAttention"} <= LAYERS.keys()
    assert not {"Sequential", "ModuleList", "MSELoss", "LazyConv2d", "Parameter"} & LAYERS.keys()
