"""What `models` and `summary` print."""

from __future__ import annotations

import os

import pytest

from zygote import Ran

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def test_a_summary_ends_with_the_command_that_trains_what_it_shows(run: Ran) -> None:
    changes = ("--surgery", "replace layer4 Identity()", "--surgery", "replace fc Linear(_, 5)")
    outcome = run("summary", "test_resnet", "--no-pretrained", *changes, "--freeze", "layer1.*")
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout.splitlines()[-1] == (
        "Train it: bowerbird train DATA --model test_resnet --no-pretrained "
        "--surgery 'replace layer4 Identity()' --surgery 'replace fc Linear(_, 5)' "
        "--freeze 'layer1.*'"
    )
    plain = run("summary", "test_resnet", "--offline")
    assert plain.stdout.endswith("bowerbird train DATA --model test_resnet --offline\n")


def test_networks_are_listed_with_the_next_step(run: Ran) -> None:
    outcome = run("models", "test_resne*")
    assert outcome.code == 0, outcome.stderr
    assert "test_resnet" in outcome.stdout
    assert outcome.stdout.endswith("Look inside one: bowerbird summary NAME\n")
