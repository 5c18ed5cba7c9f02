"""Results of every type as strict JSON."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import json
import pathlib
import uuid
from types import MappingProxyType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse.action_runtime.result_json import MAX_WARNINGS, result_text


def converted(value):
    text, warnings = result_text(value)
    return json.loads(text, parse_constant=pytest.fail)["result"], warnings


class Colour(enum.Enum):
    RED = "red"
    TWO = (1, 2)


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Metrics:
    loss: float
    at: dt.date
    inner: object = None


class Slotted:
    __attrs_attrs__ = (SimpleNamespace(name="x"),)
    x = 1


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ({"a": [1, 2.5, True, "é", None]}, {"a": [1, 2.5, True, "é", None]}),
        ((1, (2,)), [1, [2]]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset("a"), ["a"]),
        (Point(1, 2), [1, 2]),
        (collections.deque([1]), [1]),
        (range(3), [0, 1, 2]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        (MappingProxyType({"a": {1}}), {"a": [1]}),
        (Colour.RED, "red"),
        (Colour.TWO, [1, 2]),
        (Level.HIGH, 3),
        ({Colour.RED: Level.HIGH}, {"red": 3}),
        ({1: "a", None: "b"}, {"1": "a", "null": "b"}),
        ({True: "a"}, {"true": "a"}),
        ({2.5: 1, dt.date(2024, 1, 2): 2, (1, 2): 3}, {"2.5": 1, "2024-01-02": 2, "[1, 2]": 3}),
        (dt.datetime(2024, 1, 2, 3, 4, tzinfo=dt.timezone.utc), "2024-01-02T03:04:00+00:00"),
        (dt.time(1, 2), "01:02:00"),
        (dt.timedelta(minutes=1.5), 90.0),
        (decimal.Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (
            Metrics(0.5, dt.date(2024, 1, 2), Metrics(1, None)),
            {
                "loss": 0.5,
                "at": "2024-01-02",
                "inner": {"loss": 1, "at": None, "inner": None},
            },
        ),
        (Slotted(), {"x": 1}),
    ],
)
def test_what_json_has_an_equal_for_becomes_it_without_a_word(value, expected):
    """Ordinary Python values need no care by who writes an action."""
    assert converted(value) == (expected, [])


CYCLE: dict[str, object] = {"a": 1}
CYCLE["self"] = [CYCLE]


class Unreadable:
    def __repr__(self):
        raise RuntimeError


class UnreadableMapping(collections.abc.Mapping):
    def __getitem__(self, key):
        raise RuntimeError

    def __iter__(self):
        raise RuntimeError

    def __len__(self):
        return 1


@pytest.mark.parametrize(
    ("value", "expected", "told"),
    [
        ({"loss": float("nan")}, {"loss": None}, "result.loss is nan"),
        ([float("-inf")], [None], "result[0] is -inf"),
        ({"a": [b"x"]}, {"a": ["b'x'"]}, "result.a[0] became text, its repr"),
        (CYCLE, {"a": 1, "self": ["{'a': 1, 'self': [{...}]}"]}, "result.self[0] became text"),
        (1 + 2j, "(1+2j)", "complex"),
        (int, "<class 'int'>", "result became text"),
        (Unreadable(), "<test_result_json.Unreadable without a repr>", "Unreadable"),
        ([1 << 20_000], [hex(1 << 20_000)], "result[0] is an integer of 20001 bits"),
        ("a\ud800", "a\\ud800", "not valid Unicode"),
        ({1: "a", "1": "b"}, {"1": "a", "1 (str)": "b"}, "two keys '1'"),
    ],
)
def test_what_it_has_not_is_replaced_with_a_warning(value, expected, told):
    """The path leads to the value; nothing is thrown away silently."""
    found, warnings = converted(value)

    if isinstance(expected, str) and expected.startswith("<test"):
        expected = f"<{type(value).__module__}.Unreadable without a repr>"
    assert found == expected
    assert len(warnings) == 1
    assert told in warnings[0]


def test_generator_is_not_consumed():
    """It might never end."""
    found, warnings = converted(iter([1, 2]))

    assert "list_iterator" in found
    assert warnings


def test_object_that_raises_when_read_is_replaced():
    """Whatever a value does, the result is written."""
    found, warnings = converted([UnreadableMapping(), 1])

    assert found[1] == 1
    assert "reading it raised RuntimeError" in warnings[0]


def test_nesting_without_end_is_cut():
    """Strict readers give up at some depth; ours is told."""
    value: list[object] = []
    for _ in range(100_000):
        value = [value]

    _, warnings = converted(value)

    assert "nested more than 100 levels deep" in warnings[0]


def test_long_repr_is_cut():
    """A replacement is a hint, not the data."""
    found, _ = converted(b"x" * 10_000)

    assert len(found) < 1_100


def test_warnings_are_counted_when_there_are_many():
    """A thousand NaN do not fill the log."""
    _, warnings = converted([float("nan")] * 1_000)

    assert len(warnings) == MAX_WARNINGS + 1
    assert warnings[-1].startswith(str(1_000 - MAX_WARNINGS))


class Array:
    """Looks like numpy's."""

    dtype = "float64"

    def __init__(self, items, size):
        self.items, self.size = items, size

    def tolist(self):
        return self.items


def test_arrays_and_their_scalars_become_lists_and_numbers():
    """By their looks, so that numpy need not be there."""
    value = {"array": Array([[1.5], [float("nan")]], 2), "scalar": Array(3, 1)}

    found, warnings = converted(value)

    assert found == {"array": [[1.5], [None]], "scalar": 3}
    assert "result.array[1][0] is nan" in warnings[0]


def test_array_of_millions_is_replaced():
    """A data set is not a result."""
    found, warnings = converted(Array(None, 5_000_000))

    assert "Array" in found
    assert "5000000 elements" in warnings[0]


def test_pydantic_models_become_objects():
    """Of both major versions, nested in anything."""
    pydantic = pytest.importorskip("pydantic")
    from pydantic import v1

    class New(pydantic.BaseModel):
        at: dt.date
        raw: bytes = b"\xff"

    class Old(v1.BaseModel):
        path: pathlib.Path

    found, _ = converted([New(at=dt.date(2024, 1, 2)), Old(path="/a")])

    assert found == [{"at": "2024-01-02", "raw": "b'\\xff'"}, {"path": "/a"}]


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.dates()
    | st.decimals()
    | st.complex_numbers()
    | st.uuids()
    | st.timedeltas(),
    lambda inside: (
        st.lists(inside)
        | st.tuples(inside)
        | st.dictionaries(st.text() | st.integers() | st.none() | st.binary(), inside)
    ),
    max_leaves=15,
)


@given(ANYTHING)
def test_every_value_becomes_strict_json(value):
    """Nothing raises, and strict readers read it."""
    text, warnings = result_text(value)

    assert list(json.loads(text, parse_constant=pytest.fail)) == ["result"]
    assert all(warning.startswith(("result", "a key of result")) for warning in warnings)
