"""From a split data set to a finished run."""

from bowerbird.training.fit import fit, resume

__all__ = ["fit", "resume"]
