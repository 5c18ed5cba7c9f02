"""Values pass Airflow's messages and databases, or are known not to."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse.handover.airflow_values import is_safe, safe_text, safe_value

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner)
)


@given(VALUES)
def test_safe_values_can_be_sent(value: Any) -> None:
    """What counts as safe is the same after a trip as msgpack and as JSON."""
    if is_safe(value):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(value)) == value
        assert json.loads(json.dumps(value, allow_nan=False)) == value


@given(VALUES)
def test_any_value_can_be_made_safe_to_send(value: Any) -> None:
    """What is put in place of the rest can be sent, and what was safe stays."""
    msgspec.msgpack.encode(safe_value(value))
    if is_safe(value):
        assert safe_value(value) == value


@pytest.mark.parametrize(
    "value", [2**64, -(2**63) - 1, "\ud800", "\0", math.nan, math.inf, {"\ud800": 1}, {"__type": 1}]
)
def test_what_harms_airflow_is_found(value: Any) -> None:
    """However deep it lies."""
    assert not is_safe(value)
    assert not is_safe({"a": [value]})


def test_deep_values_are_not_sent() -> None:
    """Where nothing breaks before the depth that is allowed, and nothing is sent beyond."""
    value: Any = 1
    for _ in range(100):
        value = [value]
    assert is_safe(value)
    msgspec.msgpack.encode(value)
    assert not is_safe([value])


@pytest.mark.parametrize(("text", "safe"), [("\ud800", "\\ud800"), ("a\0b", "a\\x00b"), ("ä", "ä")])
def test_what_is_no_text_is_written_out(text: str, safe: str) -> None:
    """It can still be read."""
    assert safe_text(text) == safe
