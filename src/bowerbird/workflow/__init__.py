"""Whole journeys, one call each: what the command line runs, and what a script would.

They stand above all rooms and decide nothing but the order.
"""

from bowerbird.workflow.digits import demo
from bowerbird.workflow.predicting import predict
from bowerbird.workflow.reading import read_and_split, read_and_split_all
from bowerbird.workflow.training import find_rate, finish, resume, train

__all__ = [
    "demo",
    "find_rate",
    "finish",
    "predict",
    "read_and_split",
    "read_and_split_all",
    "resume",
    "train",
]
