from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bowerbird.data.safe_names import Names, safe_name
from bowerbird.data.scan import is_hidden


@given(st.text())
def test_any_name_becomes_one_that_every_system_takes(name: str) -> None:
    safe = safe_name(name)
    assert safe
    assert safe == safe_name(safe)
    assert not set(safe) & set('/\\:*?"<>|\0\n\r')
    assert not is_hidden(safe)
    assert safe == safe.strip()
    assert not safe.endswith(".")
    assert len(safe.encode("utf-8")) <= 121


def test_usual_names_stay() -> None:
    for name in ("cat", "Siamese cat", "02_Abraham", "été", "猫", "cat.1", "a-b_c(1)"):
        assert safe_name(name) == name


def test_names_that_differ_in_case_only_are_parted() -> None:
    names = Names()
    taken = [names.take(name) for name in ("Cat", "cat", "CAT", "cat-2", "a/b", "a:b")]
    assert taken == ["Cat", "cat-2", "CAT-3", "cat-2-2", "a_b", "a_b-2"]
