"""What arms say together: changes, verdicts, the winner, and what is missing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import numpy as np
import pytest

from bowerbird.comparison.ablation import Ablation, Failure, Outcome
from bowerbird.comparison.arms import Arm, ladder_arms, leave_one_out_arms
from bowerbird.comparison.crossed import crossed_difference
from bowerbird.comparison.significance import holm
from bowerbird.comparison.weighing import weigh
from bowerbird.errors import DataError

N = 400
LADDER = ladder_arms(["flip", "rotate=45", "hue=0.1"])


def outcome(arm: Arm, seed: int, right: int, *, shift: int = 0, lost: int = 0) -> Outcome:
    """The first `right` of N images are named rightly, beginning at `shift`."""
    correct = np.roll(np.arange(N) < right, shift + 150 * seed)
    paths = tuple(f"{number:03d}.jpg" for number in range(N))
    return Outcome(
        arm.name, seed, f"runs/{arm.slug}-{seed}", paths[lost:], correct[lost:], 1 - right / N,
        10.0 + seed, 3,
    )  # fmt: skip


def weighed(rights: Sequence[int], kind: str = "ladder", arms: Sequence[Arm] = LADDER) -> Ablation:
    outcomes = [
        outcome(arm, seed, right) for arm, right in zip(arms, rights, strict=True)
        for seed in (2, 0, 1)
    ]  # fmt: skip
    return weigh(kind, arms, outcomes)  # type: ignore[arg-type]


def test_a_setting_that_spoils_training_is_named_though_the_probe_hides_it() -> None:
    """What was kept is as good as the base; what training made of it was far worse."""
    base, flip = LADDER[:2]
    made = [outcome(base, seed, 330) for seed in (0, 1)]
    hidden = [dataclasses.replace(outcome(flip, s, 330), beaten=0.5) for s in (0, 1)]
    found = weigh("ladder", [base, flip], [*made, *hidden])
    assert found.finding[0].startswith(
        "flip spoils training: no epoch was right in more than 50.0%"
    )
    assert "in both runs" in found.finding[0]
    without = dataclasses.replace(flip, name="without flip")
    left_out = [dataclasses.replace(o, arm=without.name) for o in hidden]
    words = weigh("leave-one-out", [base, without], [*made, *left_out]).finding[0]
    assert words.startswith("without flip spoils training")
    one = [hidden[0], dataclasses.replace(hidden[1], beaten=None)]
    near = [dataclasses.replace(o, beaten=o.accuracy - 0.01) for o in hidden]
    for other in (one, near):
        words = weigh("ladder", [base, flip], [*made, *other]).finding
        assert not any("spoils" in sentence for sentence in words)


def test_changes_against_the_base_and_the_step_before() -> None:
    found = weighed([300, 340, 320, 321])
    base, flip, rotate, hue = found.results
    assert (base.change, base.step) == (None, None)
    assert flip.change is not None
    assert flip.change.difference.value == pytest.approx(0.1)
    assert flip.step is not None
    assert flip.step.verdict == "helps"
    assert rotate.change is not None
    assert rotate.step is not None
    assert rotate.change.verdict == "helps"
    assert rotate.step.verdict == "harms"
    assert rotate.step.against == "+ flip"
    assert hue.step is not None
    assert hue.step.verdict == "not to be told"
    assert found.base.accuracies == (0.75, 0.75, 0.75)
    assert found.base.spread == 0
    assert found.base.seconds == 11
    assert found.seeds == (0, 1, 2)
    assert found.images == N
    raw = [r.change.difference.p_value for r in found.results[1:] if r.change]
    assert [r.change.p_corrected for r in found.results[1:] if r.change] == list(holm(raw))


def test_harmful_steps_are_named_first_in_a_sentence() -> None:
    sentences = weighed([300, 340, 320, 321]).finding
    assert sentences[0].startswith("rotate=45 harms: -5.0 [")
    assert "points against + flip, p" in sentences[0]
    assert sentences[1].startswith("flip helps: +10.0 [")
    assert "Whether the other changes help or harm is not to be told." in sentences[2]
    assert "With 400 validation images and 3 seeds a change must be about" in sentences[2]


def test_left_out_and_worse_means_that_it_helps() -> None:
    arms = leave_one_out_arms(["flip,hue=0.1"])
    found = weighed([340, 300, 360], "leave-one-out", arms)
    flip, hue = found["without flip"], found["without hue=0.1"]
    assert flip.change is not None
    assert hue.change is not None
    assert flip.change.verdict == "harms"
    assert not found.is_bad(flip.change)
    assert found.verdict(flip.change, flip) == "flip helps"
    assert found.verdict(hue.change, hue) == "hue=0.1 harms"
    assert found.finding[0].startswith("hue=0.1 harms: without it +5.0 [")
    assert found.finding[1].startswith("flip helps: without it -10.0 [")
    assert found.winner == "without hue=0.1"


def test_the_simplest_within_the_noise_of_the_best_wins() -> None:
    found = weighed([300, 340, 341, 339])  # an image in 400 is less than a standard error
    assert found.winner == "+ flip"
    assert "+ rotate=45 has the best mean (85.2% on validation)" in found.why
    assert "simpler and within one standard error" in found.why
    clear = weighed([300, 320, 340, 380])
    assert (clear.winner, clear.why) == ("+ hue=0.1", "+ hue=0.1 is best: 95.0% on validation.")
    same = weighed([300, 300, 300, 300])
    assert same.winner == "no augmentation"
    assert same.why.endswith("taken: 75.0% on validation, and none has a higher mean.")


def test_a_failed_seed_leaves_the_common_ones() -> None:
    first, second = LADDER[:2]
    outcomes = [outcome(first, 0, 300), outcome(first, 1, 300), outcome(second, 1, 390)]
    failures = [Failure(second.name, 0, "no memory")]
    found = weigh("ladder", LADDER[:2], outcomes, failures=failures)
    change = found.results[1].change
    assert change is not None
    wanted = crossed_difference(outcomes[2].correct[None], outcomes[1].correct[None])
    assert change.difference == wanted
    assert found.winner == first.name  # the other lacks a seed
    assert found.seeds == (0, 1)


def test_an_arm_or_the_base_that_failed_altogether() -> None:
    first, second, third, _ = LADDER
    failures = [Failure(first.name, 0, "no such layer")]
    outcomes = [outcome(second, 0, 300), outcome(third, 0, 380)]
    found = weigh("ladder", LADDER[:3], outcomes, failures=failures)
    assert found.base.outcomes == ()
    assert [r.change for r in found.results] == [None, None, None]
    assert found.results[2].step is not None
    assert found.winner == third.name
    json.dumps(found.to_dict(), allow_nan=False)
    header, rows = found.rows()
    assert {len(header)} == {len(row) for row in rows}
    nothing = weigh("ladder", LADDER[:1], [], failures=failures)
    assert (nothing.winner, nothing.why) == (None, "Every run failed.")


def test_images_that_not_every_run_could_read_are_left_out() -> None:
    first, second = LADDER[:2]
    outcomes = [outcome(first, 0, 300), outcome(second, 0, 300, lost=3)]
    found = weigh("ladder", LADDER[:2], outcomes)
    assert found.images == N - 3
    assert found.results[1].change is not None
    assert found.results[1].change.difference.value == 0
    assert "could read 3 validation images" in found.notes[0]
    other = Outcome(second.name, 0, "x", ("y.jpg",), np.array([True]), 0.1, 1.0, 1)
    with pytest.raises(DataError, match="different validation images"):
        weigh("ladder", LADDER[:2], [outcomes[0], other])


def test_tables_and_words() -> None:
    found = weighed([300, 340, 320, 321])
    header, rows = found.rows()
    cells = dict(zip(header, rows[1], strict=True))
    assert cells["arm"] == "+ flip"
    assert cells["seeds"] == "0 1 2"
    assert float(cells["accuracy"]) == 0.85
    assert float(cells["change_value"]) == pytest.approx(0.1)
    assert cells["change_verdict"] == "helps"
    assert repr(found) == "Ablation(ladder, 4 arms, 3 seeds, winner + flip)"
    assert repr(found.results[1]) == "ArmResult(+ flip, 0.850 over 3 seeds)"
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["arms"][1]["change"]["verdict"] == "helps"
    assert told["arms"][1]["accuracies"] == {"0": 0.85, "1": 0.85, "2": 0.85}
    with pytest.raises(KeyError):
        found["nothing"]
