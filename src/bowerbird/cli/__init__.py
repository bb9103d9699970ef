"""The command line: parse, call one public function, print. No logic lives here.

Results go to stdout (with ``--json`` for machines), progress and messages to stderr.
Every command ends with the next sensible command. Nothing heavy is imported before a
command needs it.
"""

from bowerbird.cli import (
    ablating,
    auditing,
    augmenting,
    bakeoff,
    comparing,
    explaining,
    networks,
    probing,
    splitting,
    training,
    using,
)
from bowerbird.cli.app import app, main

__all__ = [
    "ablating",
    "app",
    "auditing",
    "augmenting",
    "bakeoff",
    "comparing",
    "explaining",
    "main",
    "networks",
    "probing",
    "splitting",
    "training",
    "using",
]
