from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from bowerbird.features import Features
from bowerbird.training import logistic
from bowerbird.training.logistic import STRENGTHS, Linear, Table, fit_path

Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class Held:
    """Features in memory; counts how often it is read."""

    values: Array
    reads: list[int] = dataclasses.field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape[1:]

    def __len__(self) -> int:
        return len(self.values)

    def tensor(self, rows: Any) -> torch.Tensor:
        self.reads.append(len(self.values[rows]))
        return torch.from_numpy(self.values[rows].copy())


def table(views: Sequence[Array], targets: Array, weights: Array | None = None) -> Table:
    held = [Held(view.astype(np.float32)) for view in views]
    return Table(cast("list[Features]", held), targets, weights)


def blobs(count: int, width: int, classes: int, seed: int = 0) -> tuple[Array, Array]:
    """Overlapping clouds, features of very unlike size and offset."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    targets = random.integers(classes, size=count)
    targets[:classes] = np.arange(classes)
    rows = centres[targets] + 1.5 * random.normal(size=(count, width))
    scale = np.logspace(-1, 1, width)
    return rows * scale + 10 * scale, targets


def sklearn_probabilities(
    rows: Array, targets: Array, strength: float, weights: Array | None = None
) -> Array:
    """What scikit-learn says of the rows it learnt from; moments are never weighted."""
    scaled = StandardScaler().fit_transform(rows)
    total = len(rows) if weights is None else weights.sum()
    # With two classes scikit-learn has one vector, v = w1 - w0, where a softmax has two.
    halves = 2 if len(set(targets)) == 2 else 1
    model = LogisticRegression(C=halves / (strength * total), tol=1e-9, max_iter=20_000)
    model.fit(scaled, targets, sample_weight=weights)
    found: Array = model.predict_proba(scaled)
    return found


def probabilities(linear: Linear, rows: Array) -> Array:
    scores = linear.scores(torch.from_numpy(rows.astype(np.float32)))
    found: Array = torch.softmax(scores, dim=1).numpy()
    return found


@pytest.mark.parametrize("strength", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_equals_scikit_learn(classes: int, strength: float) -> None:
    rows, targets = blobs(240, 12, classes)
    solution = fit_path(table([rows], targets), None, classes, strengths=(strength,))
    expected = sklearn_probabilities(rows, targets, strength)
    assert np.abs(probabilities(solution.linear, rows) - expected).max() < 1e-3


@pytest.mark.parametrize("classes", [2, 4])
def test_equals_scikit_learn_with_weights(classes: int) -> None:
    rows, targets = blobs(200, 10, classes)
    weights = np.random.default_rng(5).uniform(0.1, 3, len(rows)).astype(np.float32)
    solution = fit_path(table([rows], targets, weights), None, classes, strengths=(0.05,))
    expected = sklearn_probabilities(rows, targets, 0.05, weights)
    assert np.abs(probabilities(solution.linear, rows) - expected).max() < 1e-3


def test_coefficients_equal_scikit_learns() -> None:
    rows, targets = blobs(300, 8, 4)
    linear = fit_path(table([rows], targets), None, 4, strengths=(0.1,)).linear
    scaler = StandardScaler().fit(rows)
    model = LogisticRegression(C=1 / (0.1 * 300), tol=1e-9, max_iter=20_000)
    model.fit(scaler.transform(rows), targets)
    on_standardised = linear.weight.numpy() * scaler.scale_
    assert np.abs(on_standardised - model.coef_).max() < 1e-3


def test_warm_starts_lead_to_the_same_place() -> None:
    rows, targets = blobs(200, 10, 3)
    whole = fit_path(table([rows], targets), None, 3, strengths=(1.0, 0.1, 0.01))
    alone = fit_path(table([rows], targets), None, 3, strengths=(0.01,))
    difference = probabilities(whole.linear, rows) - probabilities(alone.linear, rows)
    assert np.abs(difference).max() < 1e-3


def test_views_count_as_more_rows() -> None:
    rows, targets = blobs(90, 9, 3)
    other = rows + np.random.default_rng(3).normal(size=rows.shape) * rows.std(axis=0)
    weights = np.random.default_rng(4).uniform(0.5, 2, len(rows)).astype(np.float32)
    views = fit_path(table([rows, other], targets, weights), None, 3, strengths=(0.1,))
    stacked = table([np.vstack([rows, other])], np.tile(targets, 2), np.tile(weights, 2))
    expected = fit_path(stacked, None, 3, strengths=(0.1,))
    assert torch.allclose(views.linear.weight, expected.linear.weight, atol=1e-5)
    assert torch.allclose(views.linear.bias, expected.linear.bias, atol=1e-4)


def test_streaming_equals_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, targets = blobs(230, 9, 3)
    expected = fit_path(table([rows], targets), None, 3, strengths=(0.1,)).linear
    monkeypatch.setattr(logistic, "_CHUNK_ROWS", 32)
    monkeypatch.setattr(logistic, "_IN_MEMORY", 0)
    streamed = table([rows], targets)
    found = fit_path(streamed, None, 3, strengths=(0.1,)).linear
    reads = cast("Held", streamed.views[0]).reads
    assert max(reads) == 32, "a chunk is larger than asked for"
    assert len(reads) > 10 * len(rows) / 32, "it was kept in memory after all"
    assert np.abs(probabilities(found, rows) - probabilities(expected, rows)).max() < 1e-3


def test_activations_with_space_are_flattened() -> None:
    rows, targets = blobs(60, 12, 3)
    flat = fit_path(table([rows], targets), None, 3, strengths=(0.1,)).linear
    spatial = fit_path(table([rows.reshape(60, 3, 2, 2)], targets), None, 3, strengths=(0.1,))
    assert torch.equal(spatial.linear.weight, flat.weight)


def test_a_dead_feature_gets_no_weight() -> None:
    rows, targets = blobs(120, 6, 3)
    dead = np.hstack([rows, np.full((120, 1), 7.3), np.zeros((120, 1))])
    linear = fit_path(table([dead], targets), None, 3, strengths=(0.01,)).linear
    assert linear.weight[:, 6:].abs().max() == 0
    expected = fit_path(table([rows], targets), None, 3, strengths=(0.01,)).linear
    assert np.abs(probabilities(linear, dead) - probabilities(expected, rows)).max() < 1e-3


def test_a_feature_that_hardly_moved_in_training_does_not_decide_later() -> None:
    rows, targets = blobs(120, 6, 3)
    noise = 1e-9 * np.random.default_rng(0).normal(size=(120, 1))
    linear = fit_path(table([np.hstack([rows, noise])], targets), None, 3, strengths=(0.01,)).linear
    moved = probabilities(linear, np.hstack([rows, np.full((120, 1), 1e-3)]))
    still = probabilities(linear, np.hstack([rows, np.zeros((120, 1))]))
    assert np.abs(moved - still).max() < 0.05


def test_features_that_are_all_dead_give_the_share_of_each_class() -> None:
    targets = np.array([0] * 60 + [1] * 30 + [2] * 10)
    rows = np.full((100, 4), 3.0)
    linear = fit_path(table([rows], targets), None, 3, strengths=(0.1,)).linear
    assert np.allclose(probabilities(linear, rows[:1]), [[0.6, 0.3, 0.1]], atol=1e-3)


def test_large_offsets_do_not_spoil_the_moments() -> None:
    rows, targets = blobs(150, 5, 3)
    standard = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    linear = fit_path(table([standard + 1000], targets), None, 3, strengths=(0.1,)).linear
    expected = sklearn_probabilities(rows, targets, 0.1)
    assert np.abs(probabilities(linear, standard + 1000) - expected).max() < 2e-3


def path(*pairs: tuple[float, float]) -> list[tuple[Linear, dict[str, Any]]]:
    none = Linear(torch.zeros(1, 1), torch.zeros(1))
    return [(none, {"val_loss": loss, "val_loss_error": error}) for loss, error in pairs]


@pytest.mark.parametrize(
    ("losses", "chosen"),
    [
        (((1.0, 0.1), (0.62, 0.1), (0.6, 0.05), (0.7, 0.1)), 1),  # 0.62 ≤ 0.6 + 0.05
        (((1.0, 0.1), (0.66, 0.1), (0.6, 0.05), (0.7, 0.1)), 2),
        (((0.64, 9.9), (0.62, 0.1), (0.6, 0.05)), 0),  # the error of the least one counts
        (((0.5, 0.0), (0.5, 0.0)), 0),
        (((0.3, 0.1),), 0),
    ],
)
def test_the_strongest_within_a_standard_error_is_chosen(
    losses: tuple[tuple[float, float], ...], chosen: int
) -> None:
    assert logistic._one_standard_error(path(*losses)) == chosen


def test_the_path_says_what_it_did() -> None:
    rows, targets = blobs(80, 20, 3)
    others, truth = blobs(60, 20, 3, seed=1)
    solution = fit_path(table([rows], targets), table([others], truth), 3)
    losses = [row["val_loss"] for row in solution.rows]
    assert [row["regularization"] for row in solution.rows] == list(STRENGTHS[: len(losses)])
    assert len(losses) < len(STRENGTHS), "it should have stopped once validation got worse"
    assert len(losses) - 1 - int(np.argmin(losses)) == 2
    chosen = [row for row in solution.rows if row["chosen"]]
    assert [row["regularization"] for row in chosen] == [solution.strength]
    assert (
        chosen[0]["val_loss"]
        <= min(losses) + solution.rows[losses.index(min(losses))]["val_loss_error"]
    )
    right = (probabilities(solution.linear, others).argmax(axis=1) == truth).mean()
    assert chosen[0]["val_accuracy"] == pytest.approx(right)


def test_validation_loss_and_its_error_are_those_of_the_definition() -> None:
    rows, targets = blobs(80, 6, 3)
    others, truth = blobs(50, 6, 3, seed=1)
    solution = fit_path(table([rows], targets), table([others], truth), 3, strengths=(0.1,))
    losses = -np.log(probabilities(solution.linear, others)[np.arange(50), truth])
    (row,) = solution.rows
    assert row["val_loss"] == pytest.approx(losses.mean(), rel=1e-4)
    assert row["val_loss_error"] == pytest.approx(losses.std() / 50**0.5, rel=1e-4)


def test_the_same_twice_gives_the_same_bits() -> None:
    rows, targets = blobs(120, 15, 4)
    first, second = (fit_path(table([rows], targets), None, 4).linear for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)
