from __future__ import annotations

import pytest
import torch
from torch import nn

from bowerbird.training.averaging import MovingAverage, mean_of
from training.toys import layers, same, values


def set_to(part: nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.fill_(value)


def test_three_steps_by_hand() -> None:
    """Shares of the old average: 1/10, 2/11, and 0.2 where 3/12 would be more than the decay."""
    part = nn.Linear(2, 1)
    set_to(part, 0.0)
    average = MovingAverage(part, 0.2)
    expected = 0.0
    for value, kept in ((1.0, 1 / 10), (3.0, 2 / 11), (-2.0, 0.2)):
        set_to(part, value)
        average.update()
        expected = kept * expected + (1 - kept) * value
        for found in average.values.values():
            assert found.flatten().tolist() == pytest.approx([expected] * found.numel())
        assert all(bool((p == value).all()) for p in part.parameters()), "the layers went along"
    assert average.updates == 3


def test_statistics_of_batch_norm_are_averaged_and_counters_are_not() -> None:
    part = nn.BatchNorm1d(2)
    average = MovingAverage(part, 0.9)
    part.train()(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    average.update()
    kept = 1 / 10
    mean = 0.1 * torch.tensor([2.0, 3.0])  # batch-norm's own average, from 0
    assert torch.allclose(average.values["running_mean"], (1 - kept) * mean)
    assert "num_batches_tracked" not in average.values


def test_what_does_not_change_stays_to_the_bit() -> None:
    part = layers()
    average = MovingAverage(part, 0.9)
    before = {name: value.clone() for name, value in average.values.items()}
    for _ in range(20):
        average.update()
    assert same(before, average.values)


def test_applied_for_the_length_of_a_block() -> None:
    part = layers()
    average = MovingAverage(part, 0.5)
    first = values(part)
    set_to(part, 7.0)
    own = values(part)
    with average.applied():
        assert same(values(part), first)
    assert same(values(part), own)


def test_applied_puts_back_to_the_bit_after_an_exception() -> None:
    part = layers()
    average = MovingAverage(part, 0.5)
    with torch.no_grad():
        for number, parameter in enumerate(part.parameters()):
            parameter.add_(torch.rand_like(parameter) * 10.0 ** (number - 3))
    own, kept = values(part), {name: value.clone() for name, value in average.values.items()}
    with pytest.raises(ZeroDivisionError), average.applied():
        raise ZeroDivisionError
    assert same(values(part), own)
    assert same(average.values, kept)


def test_applied_in_inference_mode_leaves_layers_that_learn() -> None:
    """As in validation: in the middle of training."""
    part = nn.Linear(2, 1)
    average = MovingAverage(part, 0.5)
    with torch.inference_mode(), average.applied():
        part(torch.ones(1, 2))
    part(torch.ones(1, 2)).sum().backward()
    assert part.weight.grad is not None
    with torch.no_grad():
        part.weight.sub_(part.weight.grad)
    average.update()


def test_restored_it_goes_on_to_the_same_bits() -> None:
    part = layers()
    one = MovingAverage(part, 0.9)
    set_to(part, 0.3)
    one.update()
    other = MovingAverage(layers(), 0.9)
    other.restore({name: value.clone() for name, value in one.values.items()}, one.updates)
    other.part = part
    set_to(part, -0.7)
    one.update()
    other.update()
    assert same(one.values, other.values)
    assert one.updates == other.updates == 2


def test_it_holds_no_part_of_the_layers() -> None:
    part = nn.Linear(2, 1)
    average = MovingAverage(part, 0.9)
    pointers = {p.data_ptr() for p in part.parameters()}
    assert not pointers & {value.data_ptr() for value in average.values.values()}
    assert not any(value.requires_grad for value in average.values.values())


def test_mean_by_hand() -> None:
    states = [
        {"weight": torch.tensor([1.0, -2.0]), "count": torch.tensor(number)} for number in (3, 9)
    ]
    states[1]["weight"] = torch.tensor([2.0, 5.0])
    found = mean_of([*states, {"weight": torch.tensor([6.0, 3.0]), "count": torch.tensor(1)}])
    assert found["weight"].tolist() == [3.0, 2.0]
    assert int(found["count"]) == 3
    assert found["weight"].dtype == torch.float32


def test_the_mean_is_taken_in_double_precision() -> None:
    """In float32 the sum of these would lose the small one."""
    states = [{"a": torch.tensor([value])} for value in (1e8, -1e8, 3.0)]
    assert mean_of(states)["a"].tolist() == [1.0]


def test_the_mean_of_one_is_itself_and_a_copy() -> None:
    state = values(layers())
    found = mean_of([state])
    assert same(found, state)
    found["0.weight"].zero_()
    found["1.num_batches_tracked"].add_(1)
    assert same(state, values(layers()))


def test_the_order_of_the_states_hardly_matters() -> None:
    states = [{"a": torch.rand(50, generator=torch.Generator().manual_seed(n))} for n in range(3)]
    forth, back = mean_of(states)["a"], mean_of(states[::-1])["a"]
    assert torch.equal(forth, back)  # sums of three floats in double precision, then rounded
