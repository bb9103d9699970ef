from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bowerbird.errors import WeightsError
from bowerbird.models.loading import (
    apart,
    differences,
    load_named,
    read_tensors,
    shortened,
    take_in_order,
)


def lines(error: pytest.ExceptionInfo[WeightsError]) -> list[str]:
    return str(error.value).splitlines()


def test_tensors_are_taken_in_order() -> None:
    found = {"x": torch.ones(2, 3), "y": torch.zeros(4)}
    wanted = {"a.weight": torch.empty(2, 3), "a.bias": torch.empty(4)}
    named = take_in_order(found, wanted, "here")
    assert list(named) == ["a.weight", "a.bias"]
    assert named["a.weight"] is found["x"]


def test_what_does_not_fit_in_order_is_listed_in_order() -> None:
    found = {"x": torch.ones(2, 3), "y": torch.zeros(4), "z": torch.zeros(1)}
    wanted = {"a.weight": torch.empty(2, 3), "a.bias": torch.empty(5)}
    with pytest.raises(WeightsError) as caught:
        take_in_order(found, wanted, "here")
    assert lines(caught) == [
        "The weights of here belong to another network:",
        "± y: (4,) in the file, a.bias is (5,)",
        "+ z (1,) is not part of the network",
        "Name the network they were made with by --model.",
    ]
    with pytest.raises(WeightsError) as caught:
        take_in_order({"x": found["x"]}, wanted, "here")
    assert lines(caught)[1:-1] == ["- a.bias (5,) is missing in the file"]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))


def test_names_and_shapes_that_differ_are_listed_by_kind() -> None:
    tensors = dict(network().state_dict())
    del tensors["0.bias"]
    tensors |= {"2.bias": torch.zeros(3), "extra": torch.zeros(1, 7)}
    with pytest.raises(WeightsError) as caught:
        load_named(network(), tensors, "a.pth")
    assert lines(caught) == [
        "The weights of a.pth belong to another network:",
        "± 2.bias: (3,) in the file, here (2,)",
        "- 0.bias (4,) is missing in the file",
        "+ extra (1, 7) is not part of the network",
        "Name the network they were made with by --model.",
    ]


def test_at_most_ten_differences_are_shown_and_the_rest_counted() -> None:
    more = {f"extra{n}": torch.zeros(1) for n in range(13)}
    with pytest.raises(WeightsError) as caught:
        load_named(network(), network().state_dict() | more, "a.pth")
    shown = lines(caught)
    assert [line[0] for line in shown[1:-1]] == ["+"] * 10 + ["…"]
    assert shown[-2] == "… and 3 more"
    assert shortened([str(n) for n in range(10)]).count("\n") == 9


def test_nothing_is_loaded_unless_all_fits() -> None:
    module = network()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    other = {k: v + 1 for k, v in before.items()} | {"2.bias": torch.zeros(3)}
    with pytest.raises(WeightsError):
        load_named(module, other, "a.pth")
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_classifiers_of_other_classes_are_left_alone_where_that_is_said() -> None:
    module = network()
    before = module.state_dict()["2.weight"].clone()
    other = {k: v + 1 for k, v in module.state_dict().items()}
    other |= {"2.weight": torch.zeros(9, 4), "2.bias": torch.zeros(9)}
    load_named(module, other, "a.pth", ("2",))
    assert torch.equal(module.state_dict()["2.weight"], before)
    assert torch.equal(module.state_dict()["0.bias"], other["0.bias"])
    with pytest.raises(WeightsError, match=r"± 2\.weight"):
        load_named(module, other, "a.pth", ("0", "21"))


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_filters_for_three_colours_are_adapted(channels: int) -> None:
    tensors = network().state_dict()
    colour = tensors["0.weight"].clone()
    module = network()
    module[0] = nn.Conv2d(channels, 4, 3)
    load_named(module, tensors, "a.pth", first_convs=("0",))
    found = module.state_dict()["0.weight"]
    if channels == 1:
        torch.testing.assert_close(found, colour.sum(1, keepdim=True))
    else:
        repeated = torch.cat([colour] * 3, dim=1)[:, :channels]
        torch.testing.assert_close(found, repeated * 3 / channels)
    by_order = {f"x{n}": tensor for n, tensor in enumerate(tensors.values())}
    named = take_in_order(by_order, module.state_dict(), "a.pth", ("0",))
    torch.testing.assert_close(named["0.weight"], found)


def test_nothing_else_is_adapted() -> None:
    module = network()
    module[0] = nn.Conv2d(1, 4, 3)
    with pytest.raises(WeightsError, match=r"± 0.weight: \(4, 3, 3, 3\) in the file, here \(4, 1"):
        load_named(module, network().state_dict(), "a.pth")
    two = network()
    two[0] = nn.Conv2d(2, 4, 3)
    with pytest.raises(WeightsError, match=r"± 0.weight: \(4, 2, 3, 3\) in the file"):
        load_named(module, two.state_dict(), "a.pth", first_convs=("0",))
    load_named(module, module.state_dict(), "a.pth", first_convs=("0",))


def test_what_torch_says_of_misfits_is_shown_in_the_same_way() -> None:
    one = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    other = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.PReLU())
    with pytest.raises(RuntimeError) as caught:
        one.load_state_dict(other.state_dict())
    assert differences(str(caught.value)) == [
        "± 0.weight: (4, 2) in the file, here (3, 2)",
        "± 0.bias: (4) in the file, here (3)",
        "- 1.weight is missing in the file",
        "- 1.bias is missing in the file",
        "- 1.running_mean is missing in the file",
        "- 1.running_var is missing in the file",
        "+ 2.weight is not part of the network",
    ]
    assert differences("something else") == []


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, {"a": {"b": torch.zeros(1)}}, torch.zeros(2)])
def test_what_is_no_state_dict_is_refused(tmp_path: Path, value: Any) -> None:
    torch.save(value, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="doesn't hold a state dict of tensors"):
        read_tensors(tmp_path / "a.pth")


def test_tied_weights_are_written_under_each_of_their_names(tmp_path: Path) -> None:
    first = nn.Linear(3, 2)
    tied = nn.ModuleDict({"first": first, "second": first})
    found = apart(tied.state_dict())
    assert torch.equal(found["first.weight"], found["second.weight"])
    assert found["first.weight"].data_ptr() != found["second.weight"].data_ptr()
    save_file(found, tmp_path / "tied.safetensors")
