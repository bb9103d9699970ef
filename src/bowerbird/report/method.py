"""How a network was trained, in sentences: what learnt, what stayed frozen, what was kept.

Everything is told from what was done (the history), not from what was asked for: a budget
may have been too short, and ``auto`` decides by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bowerbird.config import Recipe
from bowerbird.report.content import many

__all__ = ["kept_rows", "training_words"]

Row = Mapping[str, Any]


def training_words(recipe: Recipe, facts: Mapping[str, Any], history: Sequence[Row]) -> str:
    """A few sentences on the training of a run.

    Args:
        recipe: the settings.
        facts: of ``environment.json``: what was chosen, and the network.
        history: rows of ``history.csv``; `kept_rows` has marked what was kept.
    """
    epochs = [row for row in history if row.get("phase") != "probe"]
    probed = len(epochs) < len(history)
    if facts.get("chosen") == "probe" or not epochs:
        sentences = _only_the_classifier(epochs, probed)
    elif recipe.train.method == "gradual":
        sentences = [_step_by_step(epochs)]
    elif probed:
        sentences = [_after_a_probe(epochs)]
    else:
        sentences = [_from_the_start(epochs, _random(facts))]
    if epochs and facts.get("chosen") != "probe":
        sentences += _frozen(recipe, epochs, _random(facts))
        sentences += _kept(epochs)
    if recipe.train.refit:
        sentences.append(
            "Then it learnt once more, in the same way, from the training and validation pictures "
            "together."
        )
    return " ".join(sentences)


def kept_rows(history: Sequence[Row], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The history with ``chosen`` set in the epoch whose weights were kept.

    Where the training has marked it, it stays so; else it is the first epoch that was best
    on validation by accuracy, then loss, and better than the probe, as training chooses.
    """
    rows = [dict(row) for row in history]
    epochs = [row for row in rows if row.get("phase") != "probe"]
    if facts.get("chosen") != "finetune" or any(row.get("chosen") for row in epochs):
        return rows
    before = [_score(row) for row in rows if row.get("phase") == "probe" and row.get("chosen")]
    scored = [row for row in epochs if "val_accuracy" in row]
    best = max(scored, key=_score, default=None)
    if best is not None and _score(best) > max(before, default=(-1.0, 0.0)):
        best["chosen"] = 1.0
    return rows


def _score(row: Row) -> tuple[float, float]:
    return float(row["val_accuracy"]), -float(row.get("val_loss", float("inf")))


def _random(facts: Mapping[str, Any]) -> bool:
    """Whether the network began with random weights."""
    kind: Any = facts.get("network", {}).get("weights", {}).get("kind")
    return bool(kind == "none")


def _only_the_classifier(epochs: Sequence[Row], probed: bool) -> list[str]:
    if not probed and not epochs:
        return []
    said = ["Only the classifier was trained, on the features that the frozen network gives."]
    if epochs:
        parts = " and ".join(_layers(name) for name, _, _ in _steps(epochs))
        said.append(
            f"Training {parts}, too, was tried for {many(len(epochs), 'epoch')} and was no better "
            "on validation."
        )
    return said


def _after_a_probe(epochs: Sequence[Row]) -> str:
    parts = [f"{_layers(name)} for {many(n, 'epoch')}" for name, _, n in _steps(epochs)]
    return (
        "First the classifier was trained, on the features that the frozen network gives; then "
        f"{', then '.join(parts)}."
    )


def _step_by_step(epochs: Sequence[Row]) -> str:
    first, *later = _steps(epochs)
    said = f"Layers were released step by step over {many(len(epochs), 'epoch')}: at first "
    said += _layers(first[0])
    for name, start, _ in later:
        said += f", from epoch {start} on {_layers(name)}"
    return f"{said}."


def _from_the_start(epochs: Sequence[Row], random: bool) -> str:
    parts = [f"{_layers(name)} for {many(n, 'epoch')}" for name, _, n in _steps(epochs)]
    return f"Trained were {', then '.join(parts)}, beginning with {_weights(random)} weights."


def _weights(random: bool) -> str:
    return "random" if random else "pretrained"


def _frozen(recipe: Recipe, epochs: Sequence[Row], random: bool) -> list[str]:
    last = _steps(epochs)[-1][0]
    if recipe.train.freeze is not None:
        return [f"Frozen throughout: {recipe.train.freeze}."]
    if not last.startswith("from ") and last != "head":
        return []
    return [f"All that comes before stayed as it was{', random' if random else ''}."]


def _kept(epochs: Sequence[Row]) -> list[str]:
    kept = [f"{row['epoch']:g}" for row in epochs if row.get("chosen") and "epoch" in row]
    if not kept:
        validated = any("val_accuracy" in row for row in epochs)
        better = "No epoch was better on validation than what it began with, which was kept."
        return [better] if validated else []
    if len(kept) > 1:
        return [f"What was kept is the mean of the epochs {', '.join(kept)}."]
    return [f"What was kept is epoch {kept[0]} of {len(epochs)}, the best on validation."]


def _steps(epochs: Sequence[Row]) -> list[tuple[str, int, int]]:
    """What learnt, from which epoch on, for how many epochs."""
    found: list[tuple[str, int, int]] = []
    for number, row in enumerate(epochs, start=1):
        name = str(row.get("step_name", ""))
        if found and found[-1][0] == name:
            found[-1] = (name, found[-1][1], found[-1][2] + 1)
        else:
            found.append((name, number, 1))
    return found


def _layers(name: str) -> str:
    if name == "head":
        return "the classifier"
    if name.startswith("from "):
        return f"the layers {name} on"
    return name or "layers"
