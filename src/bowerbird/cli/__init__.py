"""The command line: parse, call one public function, print. No logic lives here.

Results go to stdout (with ``--json`` for machines), progress and messages to stderr.
Every command ends with the next sensible command. Nothing heavy is imported before a
command needs it.
"""

from bowerbird.cli import (
    auditing,
    augmenting,
    explaining,
    networks,
    probing,
    splitting,
    training,
    using,
)
from bowerbird.cli.app import app, main

__all__ = [
    "app",
    "auditing",
    "augmenting",
    "explaining",
    "main",
    "networks",
    "probing",
    "splitting",
    "training",
    "using",
]
