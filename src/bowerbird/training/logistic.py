"""Multinomial logistic regression over features that need not fit into memory.

The loss of a linear classifier is convex and smooth, so a quasi-Newton method
(L-BFGS) finds its minimum in some tens of passes: no learning rate, no epochs, the
same result every time. A pass reads the features in chunks, in memory when they are
few, from the cache otherwise; memory doesn't grow with the number of images.

The regularisation is chosen on validation: the path goes from strong to weak, each
step starting from the last one's solution, and ends when validation loss has risen
twice. Taken is the strongest within one standard error of the least loss (Breiman et al.
1984, section 3.4.3): a small validation set that is all right by luck would else ask for
ever surer, worse calibrated classifiers.

Equal to scikit-learn's `LogisticRegression` on standardised features with
``C = 1 / (strength × n)``, with two classes twice that, since scikit-learn then has one
vector where a softmax has two (tested). Features that vary less than a thousandth as much
as the average one are held back. Ours reads chunks and knows several views of one
image, that one doesn't.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bowerbird import progress
from bowerbird.features import Features

__all__ = ["STRENGTHS", "Linear", "Solution", "Table", "fit_path", "minimise"]

STRENGTHS = tuple(float(s) for s in np.logspace(1.0, -3.5, 10))
_CHUNK_ROWS, _IN_MEMORY = 2048, 96 << 20
_ITERATIONS, _PATIENCE = 200, 2


@dataclasses.dataclass(frozen=True)
class Table:
    """Features with their classes, read in chunks.

    Args:
        views: one `Features` per view, all with the same rows.
        targets: class index per row [N].
        weights: of each row in the loss [N]; by default 1.
    """

    views: Sequence[Features]
    targets: npt.NDArray[Any]
    weights: npt.NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.targets) * len(self.views)

    @property
    def width(self) -> int:
        """Numbers per row."""
        return int(np.prod(self.views[0].shape))

    def chunks(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Rows [n, D] in float32, their targets [n] and weights [n]."""
        count = len(self.targets)
        weights = np.ones(count) if self.weights is None else self.weights
        for view in self.views:
            for start in range(0, count, _CHUNK_ROWS):
                part = slice(start, min(start + _CHUNK_ROWS, count))
                rows = view.tensor(part).float().flatten(1)
                yield (
                    rows,
                    torch.from_numpy(np.asarray(self.targets[part], dtype=np.int64)),
                    torch.from_numpy(np.asarray(weights[part], dtype=np.float32)),
                )


@dataclasses.dataclass(frozen=True)
class Linear:
    """Scores are ``x @ weight.T + bias``, on features as they come (not standardised).

    Attributes:
        weight: [K, D] float32.
        bias: [K] float32.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def scores(self, rows: torch.Tensor) -> torch.Tensor:
        """Logits [N, K] of rows [N, D]."""
        return rows.float().flatten(1) @ self.weight.T + self.bias


@dataclasses.dataclass(frozen=True)
class Solution:
    """The chosen classifier and the path it was chosen from.

    Attributes:
        linear: the classifier.
        strength: the chosen regularisation.
        rows: one per strength, with losses and accuracies, the chosen one marked.
    """

    linear: Linear
    strength: float
    rows: list[dict[str, Any]]


def fit_path(
    train: Table,
    val: Table | None,
    num_classes: int,
    strengths: Sequence[float] = STRENGTHS,
) -> Solution:
    """Fit for each strength, from strong to weak, and choose by validation loss.

    Args:
        train: what to learn from.
        val: what to choose on; None takes the last of `strengths`.
        num_classes: K.
        strengths: weight of half the squared norm against the mean loss.
    """
    table = _Standardised(train)
    vector = np.zeros((table.width + 1) * num_classes)
    path: list[tuple[Linear, dict[str, Any]]] = []
    ordered = sorted(strengths, reverse=True)
    with progress.task("Fitting the classifier", len(ordered)) as task:
        for strength in ordered:
            start = time.perf_counter()
            vector = minimise(table, num_classes, strength, vector)
            linear = table.unstandardised(vector, num_classes)
            row = _scores(linear, train, val) | {"regularization": strength}
            path.append((linear, row | {"seconds": time.perf_counter() - start}))
            task.advance()
            if val is not None and _risen(path):
                break
    chosen = len(path) - 1 if val is None else _one_standard_error(path)
    rows = [row | {"chosen": int(i == chosen)} for i, (_, row) in enumerate(path)]
    return Solution(path[chosen][0], path[chosen][1]["regularization"], rows)


def minimise(
    table: _Standardised, num_classes: int, strength: float, start: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Minimise the mean loss plus ``strength / 2 × squared norm``; the bias goes free.

    SciPy's own threads would wait for more work on the cores that torch needs next.
    """
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        found = minimize(
            _objective(table, num_classes, strength),
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _ITERATIONS, "ftol": 1e-7, "gtol": 1e-5, "maxcor": 10},
        )
    return np.asarray(found.x)


def _risen(path: Sequence[tuple[Linear, dict[str, Any]]]) -> bool:
    """Whether the least validation loss lies more than `_PATIENCE` steps back."""
    losses = [row["val_loss"] for _, row in path]
    return len(losses) - 1 - int(np.argmin(losses)) >= _PATIENCE


def _one_standard_error(path: Sequence[tuple[Linear, dict[str, Any]]]) -> int:
    """The strongest regularisation whose loss is within a standard error of the least."""
    losses = [row["val_loss"] for _, row in path]
    least = int(np.argmin(losses))
    bound = losses[least] + path[least][1]["val_loss_error"]
    return next(i for i, loss in enumerate(losses) if loss <= bound)


def measure(linear: Linear, table: Table) -> tuple[float, float, float]:
    """Accuracy, mean cross-entropy and its standard error, on the first view of a table."""
    first = Table(table.views[:1], table.targets)
    right, losses = 0, []
    for rows, targets, _ in first.chunks():
        scores = linear.scores(rows)
        right += int((scores.argmax(1) == targets).sum())
        losses.append(torch.nn.functional.cross_entropy(scores, targets, reduction="none"))
    every = torch.cat(losses).double()
    error = float(every.std(correction=0)) / max(1, len(every)) ** 0.5
    return right / len(first), float(every.mean()), error


class _Standardised:
    """Rows with mean 0 and deviation 1 per feature, as learnt from `table`."""

    def __init__(self, table: Table) -> None:
        self.table, self.width = table, table.width
        self.mean, self.deviation = self._moments()
        self._kept: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] | None = None
        if len(table) * self.width * 4 <= _IN_MEMORY:
            self._kept = list(self._read())

    def chunks(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """As `Table.chunks`, standardised."""
        return iter(self._kept) if self._kept is not None else self._read()

    def unstandardised(self, vector: npt.NDArray[Any], num_classes: int) -> Linear:
        """The solution as a classifier of features as they come."""
        parameters = torch.from_numpy(vector).float().view(num_classes, self.width + 1)
        weight = parameters[:, :-1] / self.deviation
        return Linear(weight.contiguous(), parameters[:, -1] - weight @ self.mean)

    def _read(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        for rows, targets, weights in self.table.chunks():
            yield (rows - self.mean).div_(self.deviation), targets, weights

    def _moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        count = 0
        total = torch.zeros(self.width, dtype=torch.float64)
        squares = torch.zeros(self.width, dtype=torch.float64)
        for rows, _, _ in self.table.chunks():
            count += len(rows)
            total += rows.sum(0, dtype=torch.float64)
            squares += rows.double().square().sum(0)
        mean = total / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        floor = 1e-3 * deviation.mean().clamp_min(1e-6)  # a dead feature stays dead
        return mean.float(), deviation.clamp_min(floor).float()


def _objective(
    table: _Standardised, num_classes: int, strength: float
) -> Callable[[npt.NDArray[Any]], tuple[float, npt.NDArray[Any]]]:
    def loss_and_gradient(vector: npt.NDArray[Any]) -> tuple[float, npt.NDArray[Any]]:
        parameters = torch.from_numpy(vector).float().view(num_classes, table.width + 1)
        weight, bias = parameters[:, :-1].contiguous(), parameters[:, -1]
        gradient = torch.zeros(num_classes, table.width + 1)
        loss, total = 0.0, 0.0
        for rows, targets, weights in table.chunks():
            logarithms = torch.log_softmax(rows @ weight.T + bias, dim=1)
            picked = logarithms.gather(1, targets[:, None])[:, 0]
            loss -= float((picked * weights).sum(dtype=torch.float64))
            total += float(weights.sum())
            residual = logarithms.exp_()
            residual[torch.arange(len(targets)), targets] -= 1
            residual *= weights[:, None]
            gradient[:, :-1] += residual.T @ rows
            gradient[:, -1] += residual.sum(0)
        gradient /= total
        gradient[:, :-1] += strength * weight
        value = loss / total + 0.5 * strength * float(weight.square().sum())
        return value, gradient.flatten().double().numpy()

    return loss_and_gradient


def _scores(linear: Linear, train: Table, val: Table | None) -> dict[str, Any]:
    accuracy, loss, _ = measure(linear, train)
    row = {"train_loss": loss, "train_accuracy": accuracy}
    if val is None:
        return row
    accuracy, loss, error = measure(linear, val)
    return row | {"val_loss": loss, "val_accuracy": accuracy, "val_loss_error": error}
