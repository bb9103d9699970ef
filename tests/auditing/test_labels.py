from __future__ import annotations

import numpy as np
import pytest

from bowerbird.auditing.labels import LeftOut, centred, leave_one_out, second_opinion


def clouds(
    sizes: tuple[int, ...] = (40, 50, 30), width: int = 12, apart: float = 3.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Classes as clouds of points: float32 [N, D] and class indices [N]."""
    random = np.random.default_rng(seed)
    targets = np.repeat(np.arange(len(sizes)), sizes)
    centres = random.normal(size=(len(sizes), width)) * apart / np.sqrt(width) * 2
    features = centres[targets] + random.normal(size=(len(targets), width))
    return features.astype(np.float32), targets


def by_hand(features: np.ndarray, targets: np.ndarray, out: list[int], strength: float) -> object:
    """Scores of the images `out`, learned from all others by solving anew."""
    moved = features - features.mean(axis=0, dtype=np.float64)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    x = np.hstack([moved, np.full((len(x_ := moved), 1), 0.3)])
    y = 2.0 * np.eye(targets.max() + 1)[targets] - 1
    kept = ~np.isin(np.arange(len(x_)), out)
    gram = x[kept].T @ x[kept] + strength * np.eye(x.shape[1])
    return x[out] @ np.linalg.solve(gram, x[kept].T @ y[kept])


@pytest.mark.parametrize("strength", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("width", [5, 200])
def test_leaving_one_out_equals_learning_anew(strength: float, width: int) -> None:
    features, targets = clouds((8, 9, 7), width)
    found = leave_one_out(features, targets, 3, strengths=(strength,))
    for i in range(len(targets)):
        assert found.scores[[i]] == pytest.approx(
            by_hand(features, targets, [i], strength), abs=1e-8
        )


def test_leaving_a_group_out_equals_learning_anew() -> None:
    features, targets = clouds((8, 9, 7))
    group = [2, 3, 11]
    found = leave_one_out(features, targets, 3, [group], strengths=(0.1,))
    assert found.scores[group] == pytest.approx(by_hand(features, targets, group, 0.1), abs=1e-8)
    alone = leave_one_out(features, targets, 3, strengths=(0.1,))
    rest = [i for i in range(len(targets)) if i not in group]
    assert np.array_equal(found.scores[rest], alone.scores[rest])


def test_a_group_larger_than_the_network_is_left_out_as_exactly() -> None:
    features, targets = clouds((30, 30, 30), width=5)
    group = list(range(10, 60))
    found = leave_one_out(features, targets, 3, [group], strengths=(0.3,))
    assert found.scores[group] == pytest.approx(by_hand(features, targets, group, 0.3), abs=1e-8)


def test_the_strength_is_the_one_that_predicts_best() -> None:
    features, targets = clouds(apart=1.0)
    found = leave_one_out(features, targets, 3)
    wanted = 2.0 * np.eye(3)[targets] - 1
    errors = {
        strength: (
            (leave_one_out(features, targets, 3, strengths=(strength,)).scores - wanted) ** 2
        ).mean()
        for strength in (0.01, 0.1, 1.0, 10.0)
    }
    assert ((found.scores - wanted) ** 2).mean() <= min(errors.values())


def test_a_copy_with_the_same_wrong_label_vouches_for_it_unless_left_out_with_it() -> None:
    features, targets = clouds((30, 30, 30))
    features[61:64] = features[60]
    targets = targets.copy()
    targets[60:64] = 0
    apart = leave_one_out(features, targets, 3, strengths=(0.1,))
    together = leave_one_out(features, targets, 3, [[60, 61, 62, 63]], strengths=(0.1,))
    assert (together.margin[60:64] < apart.margin[60:64]).all()
    assert (together.margin[60:64] < 0).all()
    assert set(together.order[:4]) == set(range(60, 64))


def test_injected_errors_are_ranked_first_and_flagged() -> None:
    features, targets = clouds((80, 80, 80))
    wrong = np.arange(0, 240, 20)
    noisy = targets.copy()
    noisy[wrong] = (targets[wrong] + 1) % 3
    found = leave_one_out(features, noisy, 3)
    assert set(found.order[: len(wrong)]) == set(wrong)
    assert set(found.flagged) <= set(wrong)
    assert len(found.flagged) >= 10
    assert (found.suggestion[wrong] == targets[wrong]).all()
    expected, low, high = found.expected_errors()
    assert low <= len(wrong) <= high
    assert expected == pytest.approx(len(wrong), abs=5)


def test_clean_labels_are_not_flagged() -> None:
    features, targets = clouds((80, 80, 80))
    found = leave_one_out(features, targets, 3)
    assert len(found.flagged) == 0
    assert found.expected_errors()[0] == 0
    assert found.accuracy == 1


def test_weak_features_flag_only_where_they_are_sure() -> None:
    """Classes that overlap: a third of the labels disagree, and few of them are flagged."""
    features, targets = clouds((300, 300, 300), apart=0.6)
    found = leave_one_out(features, targets, 3)
    assert (found.margin < 0).sum() > 200
    assert len(found.flagged) < 60
    gaps = np.sort(found.scores, axis=1)
    sure = gaps[:, -1] - gaps[:, -2]
    assert sure[found.flagged].min() > np.median(sure)


def test_margins_suggestions_and_probabilities_of_known_scores() -> None:
    scores = np.array([[1.0, -1.0, 0.0], [0.5, 0.0, 0.25], [-1.0, 0.0, 1.0]])
    found = LeftOut(scores, np.array([0, 1, 2]), 1.0)
    assert found.margin == pytest.approx([1.0, -0.5, 1.0])
    assert found.suggestion.tolist() == [2, 0, 1]
    assert found.order.tolist() == [1, 0, 2]
    assert found.probability.sum(axis=1) == pytest.approx([1, 1, 1])
    assert (found.probability.argmax(axis=1) == scores.argmax(axis=1)).all()


def test_a_second_opinion_still_finds_the_errors() -> None:
    features, targets = clouds((60, 60, 4))
    noisy = targets.copy()
    noisy[[3, 70]] = [1, 0]
    found = leave_one_out(features, noisy, 3)
    order = second_opinion(found, features)
    assert sorted(order) == list(range(124))
    assert set(order[:2]) == {3, 70}


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = clouds()
    whole = leave_one_out(features, targets, 3, [[1, 5]])
    monkeypatch.setattr("bowerbird.auditing.labels._CHUNK", 7)
    parts = leave_one_out(features, targets, 3, [[1, 5]])
    assert parts.strength == whole.strength
    assert parts.scores == pytest.approx(whole.scores, abs=1e-9)


def test_constant_features_do_no_harm() -> None:
    found = leave_one_out(np.ones((6, 4), np.float32), np.array([0, 0, 0, 1, 1, 1]), 2)
    assert np.isfinite(found.scores).all()


def test_centred_rows_have_unit_length() -> None:
    features, _ = clouds()
    assert np.linalg.norm(centred(features), axis=1) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("classes", [2, 5])
def test_features_that_know_nothing_call_no_label_wrong(classes: int) -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(200, 64)).astype(np.float32)
    found = leave_one_out(features, random.permutation(np.arange(200) % classes), classes)
    assert (found.margin < 0).sum() > 80
    assert len(found.flagged) == 0
    assert not found.recognised


def test_wrong_labels_disagree_everywhere_weak_features_only_where_unsure() -> None:
    random = np.random.default_rng(3)
    targets = np.arange(1200) % 4
    centres = 2 * random.normal(size=(4, 40))
    clear = (centres[targets] + random.normal(size=(1200, 40))).astype(np.float32)
    noisy = targets.copy()
    noisy[:180] = (noisy[:180] + 1) % 4
    found = leave_one_out(clear, noisy, 4)
    assert found.steady
    assert found.expected_errors()[0] == pytest.approx(180, rel=0.15)
    blurred = (centres[targets] + 9 * random.normal(size=(1200, 40))).astype(np.float32)
    weak = leave_one_out(blurred, targets, 4)
    assert weak.accuracy < 0.8
    assert not weak.steady


def test_components_keep_what_lies_between_images() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(60, 30)).astype(np.float32)
    found = leave_one_out(features, np.arange(60) % 2, 2).components
    assert found is not None
    unit = np.hstack([centred(features), np.full((60, 1), 0.3, np.float32)])
    np.testing.assert_allclose(found @ found.T, unit @ unit.T, atol=1e-4)
