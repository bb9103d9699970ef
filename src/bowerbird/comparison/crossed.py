"""The difference of two arms that were trained with the same seeds and judged on the same images.

Both have two kinds of luck in them: which images happened to be there, and which seeds. Every
seed meets every image, so luck of both kinds can be told apart, as in studies where several
readers judge the same cases: seeds stand for readers, images for cases.

Decisions:
- The variance of the mean difference is that of a two-way table, images and seeds both drawn
  at random: (MS_seeds + max(0, MS_images - MS_rest)) / (N S), degrees of freedom after
  Satterthwaite (D. Dorfman, K. Berbaum, C. Metz, Investigative Radiology 27, 1992; N.
  Obuchowski, H. Rockette, Communications in Statistics 24, 1995; S. Hillis, Statistics in
  Medicine 26, 2007). Differs: where seeds vary no more than the rest does, the two are pooled;
  with one degree of freedom a lucky pair of seeds would otherwise say nearly nothing.
- Why not a bootstrap over images alone: it takes the seeds' luck for an effect. In simulations
  with 1,000 images and seeds of some influence its intervals held the truth in 65 % of the
  cases. These hold it in 92 to 99 % with three seeds or more, whatever the seeds do; with two
  seeds that matter in 87 % (a part is repeated in ``tests/comparison/test_crossed.py``). A
  bootstrap over two or three seeds would make their spread too small.
- Half an image is added on either side, as in `significance`: arms that agree on every image
  would otherwise get an interval without width.
- With one seed nothing is known of the seeds' luck; the interval is the bootstrap over
  images, the p value McNemar's, and whoever shows them says so.
- Images count as independent of each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bowerbird.comparison.bootstrap import CONFIDENCE, bootstrap_difference
from bowerbird.comparison.significance import mcnemar, p_words
from bowerbird.errors import DataError
from bowerbird.evaluation.results import Interval

__all__ = ["CrossedDifference", "crossed_difference"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CrossedDifference:
    """A difference of two mean accuracies, first minus second.

    Attributes:
        value: as measured.
        interval: at 95 %.
        standard_error: of the value.
        p_value: two-sided, of so large a difference if there were none.
        seeds: S, how many both were trained with.
        images: N.
    """

    value: float
    interval: Interval
    standard_error: float
    p_value: float
    seeds: int
    images: int

    def __repr__(self) -> str:
        return f"CrossedDifference({self.value:+.4f} {self.interval!r}, {p_words(self.p_value)})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "value": self.value,
            "interval": [self.interval.low, self.interval.high],
            "standard_error": self.standard_error,
            "p_value": self.p_value,
            "seeds": self.seeds,
            "images": self.images,
        }


def crossed_difference(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> CrossedDifference:
    """Difference of the mean accuracies of two arms, with what images and seeds leave open.

    Args:
        correct_a: [S, N] whether the first arm, trained with seed s, is right about image n.
        correct_b: [S, N] the same for the second, same seeds, same images, same order.

    Raises:
        DataError: the two don't fit each other, or are empty.

    >>> a, b = np.ones((3, 100)), np.ones((3, 100))
    >>> b[:, :20] = 0
    >>> crossed_difference(a, b)
    CrossedDifference(+0.2000 [0.118, 0.282], p < 0.001)
    """
    a, b = (np.asarray(rights, np.float64) for rights in (correct_a, correct_b))
    if a.ndim != 2 or a.shape != b.shape or not a.size:
        raise DataError(
            "Two arms are compared by a table each of seeds and images, for the same seeds and "
            f"images. Found tables of shape {list(a.shape)} and {list(b.shape)}."
        )
    apart = a - b
    return _of_one_seed(a[0], b[0]) if len(a) == 1 else _of_several(apart)


def _of_one_seed(a: Floats, b: Floats) -> CrossedDifference:
    found = bootstrap_difference(a, b)
    padded, total = _image_squares(a - b)
    error = float(np.sqrt(padded / (total - 1) / len(a)))
    tested = mcnemar(a > 0.5, b > 0.5).p_value
    return CrossedDifference(found.value, found.interval, error, tested, 1, len(a))


def _of_several(apart: Floats) -> CrossedDifference:
    from scipy.stats import t as student

    seeds, images = apart.shape
    per_seed, per_image, mean = apart.mean(axis=1), apart.mean(axis=0), float(apart.mean())
    padded, total = _image_squares(per_image)
    of_images = seeds * padded / (total - 1)
    of_seeds = images * float(((per_seed - mean) ** 2).sum()) / (seeds - 1)
    rest = apart - per_seed[:, None] - per_image[None, :] + mean
    free_seeds, free_rest = seeds - 1, (seeds - 1) * (images - 1)
    of_rest = float((rest**2).sum()) / free_rest if free_rest else 0.0
    if of_seeds <= of_rest:  # nothing of the seeds' own is seen
        of_seeds = (of_seeds * free_seeds + of_rest * free_rest) / (free_seeds + free_rest)
        free_seeds += free_rest
    squares = of_seeds + max(0.0, of_images - of_rest)
    free = squares**2 / (of_seeds**2 / free_seeds + of_images**2 / (total - 1))
    error = float(np.sqrt(squares / (seeds * images)))
    reach = float(student.ppf(0.5 + CONFIDENCE / 2, free)) * error
    p_value = float(2 * student.sf(abs(mean) / error, free))
    interval = Interval(max(-1.0, mean - reach), min(1.0, mean + reach))
    return CrossedDifference(mean, interval, error, min(1.0, p_value), seeds, images)


def _image_squares(per_image: Floats) -> tuple[float, float]:
    """Sum of squares around the mean, and its number of images, with half of one on each side."""
    values = np.append(per_image, (1.0, -1.0))
    weights = np.append(np.ones(len(per_image)), (0.5, 0.5))
    total = float(weights.sum())
    middle = float((weights * values).sum()) / total
    return float((weights * (values - middle) ** 2).sum()), total
