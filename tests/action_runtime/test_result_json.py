"""Results of every type as strict JSON."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import itertools
import json
import pathlib
import signal
import sys
import tracemalloc
import uuid
from types import MappingProxyType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse.action_runtime.results import plain_json, result_json, safe_repr
from airflow_synapse.action_runtime.results.result_json import MAX_WARNINGS, result_text
from airflow_synapse.action_runtime.results.safe_repr import SafeReprs


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
        ({"a": [b"x"]}, {"a": ["b'x'"]}, "result.a[0] was replaced by its repr"),
        (
            CYCLE,
            {"a": 1, "self": ["{'a': 1, 'self': [{...}]}"]},
            "result.self[0] was replaced by its repr",
        ),
        (1 + 2j, "(1+2j)", "complex"),
        (int, "<class 'int'>", "result was replaced by its repr"),
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


class Odd:
    """Its repr does what it is given."""

    def __init__(self, deed):
        self.deed = deed

    def __repr__(self):
        return self.deed()


def end():
    raise SystemExit(3)


def work_for_ever():
    while True:
        pass


def resist():
    with contextlib.suppress(BaseException):
        work_for_ever()
    work_for_ever()


@pytest.mark.parametrize("deed", [end, lambda: 7, lambda: 1 / 0, lambda: repr(Odd(end))])
def test_repr_that_fails_does_not_cost_the_rest(deed):
    """Whatever it raises, the process and the other values are none of its business."""
    found, _ = converted([Odd(deed), 1])

    assert found[0].endswith("Odd without a repr>")
    assert found[1] == 1


@pytest.mark.parametrize("deed", [work_for_ever, resist])
def test_repr_that_never_ends_is_interrupted(monkeypatch, deed):
    """Once for all values, and the alarm of somebody else goes on."""
    monkeypatch.setattr(safe_repr, "_AGAIN_AFTER", 0.01)
    monkeypatch.setattr(SafeReprs.__init__, "__defaults__", (0.05,))
    signal.setitimer(signal.ITIMER_REAL, 600)

    found, warnings = converted([Odd(deed)] * 1000 + [1, Odd(lambda: "late")])

    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    assert 500 < left < 600
    assert found[1000] == 1
    assert all(text.endswith("Odd without a repr>") for text in found[:1000] + found[1001:])
    assert len(warnings) == MAX_WARNINGS + 1


def test_huge_repr_is_cut_before_it_is_copied():
    """Of bytes, it is four times as long as what they hold."""
    value = bytes(2_000_000)
    tracemalloc.start()

    found, _ = converted([value, Odd(lambda: "x" * 5_000)])

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [len(text) for text in found] == [1_001, 1_001]
    assert peak < 1_000_000


class EndlessList(list):
    def __iter__(self):
        return itertools.count()


class EndlessDict(dict):
    def items(self):
        return ((n, n) for n in itertools.count())


class EndlessMapping(collections.abc.Mapping):
    __getitem__ = __len__ = None

    def __iter__(self):
        return itertools.count()

    def items(self):
        return ((n, n) for n in itertools.count())


@pytest.mark.parametrize("kind", [EndlessList, EndlessDict, EndlessMapping, lambda: range(10**13)])
def test_container_without_end_is_replaced(monkeypatch, kind):
    """Its length is not believed: it may say anything."""
    value = kind()
    monkeypatch.setattr(result_json, "MAX_ELEMENTS", 1_000)

    found, warnings = converted({"odd": value, "even": 2})

    assert found["odd"] == repr(value)
    assert found["even"] == 2
    assert "more than 1000 elements" in warnings[0]


def test_long_list_is_kept_whole(monkeypatch):
    """Lists are as long as they are, however many of their values are odd."""
    monkeypatch.setattr(result_json, "MAX_ELEMENTS", 10)

    found, _ = converted([{1}] * 1_000)

    assert found == [[1]] * 1_000


@pytest.mark.parametrize("innermost", ["x", float("nan")])
def test_lists_that_contain_each_other_many_times_are_cut(monkeypatch, innermost):
    """Thirty lists can stand for a billion values."""
    monkeypatch.setattr(plain_json, "MAX_PLAIN_VALUES", 1_000)
    monkeypatch.setattr(result_json, "MAX_REPEATED_VALUES", 1_000)
    value = [innermost]
    for _ in range(30):
        value = [value, value]

    text, warnings = result_text(value)

    assert len(text) < 100_000
    assert warnings[-1].endswith("more values were replaced")


def test_values_that_are_shared_are_repeated():
    """JSON has no references."""
    shared = {"at": {1}}

    assert converted([shared, shared]) == ([{"at": [1]}] * 2, [])


@dataclasses.dataclass
class Node:
    neighbours: list = dataclasses.field(default_factory=list)

    def __repr__(self):
        return "Node"


def test_graph_whose_nodes_know_each_other_ends(monkeypatch):
    """The number of ways through it has no limit."""
    monkeypatch.setattr(result_json, "MAX_REPEATED_VALUES", 1_000)
    nodes = [Node() for _ in range(30)]
    for node in nodes:
        node.neighbours.extend(nodes)

    found, warnings = converted(nodes)

    assert len(found) == 30
    assert "it contains itself" in warnings[0]


class Lazy:
    """Raises for whatever it is asked."""

    @property
    def __class__(self):
        raise RuntimeError


class NamelessType(type):
    __module__ = __name__ = property(lambda self: 1 / 0)


class Nameless(metaclass=NamelessType):
    pass


class Number(int):
    __int__ = __index__ = bit_length = None


class Text(str):
    __str__ = encode = None


@pytest.mark.parametrize(
    ("value", "expected"),
    [([Number(5)], [5]), ([Text("x")], ["x"]), ({Text("a"): Number(1)}, {"a": 1})],
)
def test_subclasses_of_plain_types_are_read_without_their_own_methods(value, expected):
    """What they hold is known."""
    assert converted(value) == (expected, [])


@pytest.mark.parametrize("kind", [Lazy, Nameless], ids=["lazy", "nameless"])
def test_object_that_can_not_be_looked_at_is_replaced(kind):
    """Neither its class nor the class's name can be asked for."""
    found, warnings = converted([kind(), 1])

    assert found[1] == 1
    assert len(warnings) == 1


class Incomparable:
    def __lt__(self, other):
        raise ValueError

    def __repr__(self):
        return "incomparable"


def test_set_that_can_not_be_sorted_is_a_list_all_the_same():
    """Whatever its comparison raises."""
    found, _ = converted({Incomparable(), Incomparable()})

    assert found == ["incomparable"] * 2


@dataclasses.dataclass
class HalfReadable:
    good: int = 1
    bad: int = 2

    def __getattribute__(self, name):
        if name == "bad":
            raise RuntimeError
        return super().__getattribute__(name)


def test_field_that_raises_does_not_cost_the_others():
    """Only what can't be read is replaced."""
    found, warnings = converted(HalfReadable())

    assert found == {"good": 1, "bad": "<reading it raised RuntimeError>"}
    assert "result.bad was replaced by its repr" in warnings[0]


def test_no_key_is_lost():
    """However many keys have the same text."""
    found, _ = converted({1: "a", "1": "b", "1 (str)": "c", b"x": 1, "b'x'": 2})

    assert sorted(map(str, found.values())) == ["1", "2", "a", "b", "c"]


def test_warning_is_one_short_line():
    """Keys may be long and hold anything."""
    _, warnings = converted({"k" * 10_000: {"line\n\x1b[31mé": {1j}}})

    assert len(warnings[0]) < 200
    assert warnings[0].isprintable()


@pytest.mark.skipif(not hasattr(sys, "set_int_max_str_digits"), reason="this Python has no limit")
def test_integer_that_python_refuses_to_print_is_hexadecimal():
    """An action may have lowered the limit."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        text, _ = result_text([10**1_000])
    finally:
        sys.set_int_max_str_digits(limit)

    assert json.loads(text) == {"result": [hex(10**1_000)]}


def test_value_that_changes_meanwhile_is_whole():
    """A thread of the action may be at work on it still."""
    value = {f"k{n}": {n} for n in range(1_000)}
    value["k500"] = Odd(lambda: value.update(new=1) or "changed")

    found, _ = converted(value)

    assert len(found) == 1_000
    assert found["k999"] == [999]


def test_pydantic_model_that_can_not_be_dumped_is_read_by_its_fields():
    """Its serializers may raise, and models may contain each other."""
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        n: int = 1
        other: object = None

        @pydantic.field_serializer("n")
        def serialize(self, _):
            raise RuntimeError

    model = Model()
    model.other = [model]

    found, _ = converted(model)

    assert found["n"] == 1


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
