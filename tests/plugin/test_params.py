"""Params as JSON, and against a schema."""

from __future__ import annotations

import json
import math
from datetime import date
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse.exceptions import ActionParamsError
from airflow_synapse.plugin.params import check_params, encode_params

CYCLE: list[object] = []
CYCLE.append([CYCLE])


def deep(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("params", "path", "told"),
    [
        ({"optim": {"lr": math.nan}}, "params.optim.lr", "nan"),
        ({"items": [1, 2, 3, math.inf]}, "params.items[3]", "inf"),
        ({"a": {1: "x"}}, "params.a", "key 1 of type int"),
        ({"a": {True: "x"}}, "params.a", "key True of type bool"),
        ({"a": b"x"}, "params.a", "bytes"),
        ({"a": [{"b": {1}}]}, "params.a[0].b", "set"),
        ({"a": date(2024, 1, 1)}, "params.a", "datetime.date"),
        ({"a": object()}, "params.a", "object"),
        ({"a": CYCLE}, "params.a[0][0]", "contains itself"),
        ({"a": deep(300)}, "params.a[0]", "nested more than"),
        ([1], "params", "list, not a mapping"),
        ("text", "params", "str, not a mapping"),
        ({"a": 10**5000}, "params", "4300"),
    ],
)
def test_what_json_can_not_hold_is_named_by_its_path(params, path, told):
    """The error leads to the value, however deep it is."""
    with pytest.raises(ActionParamsError) as caught:
        encode_params(params, action_name="train")

    (found,) = caught.value.problems
    assert found.startswith(path)
    assert told in caught.value.problems[found]
    assert "'train'" in str(caught.value)


def test_all_problems_are_told_at_once():
    """One submission is enough to see what is wrong."""
    with pytest.raises(ActionParamsError) as caught:
        encode_params({"a": math.nan, "b": [{2}], "c": 1})

    assert list(caught.value.problems) == ["params.a", "params.b[0]"]


def test_no_params_are_an_empty_object():
    """None means no params."""
    assert encode_params(None) == "{}"


def test_tuples_and_other_mappings_are_accepted():
    """What JSON has an equal for is taken; the caller's object stays as it is."""
    assert encode_params(MappingProxyType({"a": (1, (2,))})) == '{"a":[1,[2]]}'


def test_a_value_that_stands_twice_is_no_cycle():
    """Sharing is not containing."""
    shared = {"x": [1]}

    assert json.loads(encode_params({"a": shared, "b": [shared, shared]}))["b"] == [shared, shared]


def test_params_of_megabytes_are_encoded_whole():
    """5 MB of text and a million numbers arrive as they were."""
    params = {"text": "x" * 5_000_000, "numbers": list(range(500_000)), "f": [0.5] * 500_000}

    text = encode_params(params)

    assert json.loads(text) == params


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON))
def test_what_json_can_hold_arrives_as_it_was(params):
    """Encoding loses nothing."""
    assert json.loads(encode_params(params)) == params


ANYTHING = st.recursive(
    st.none() | st.floats() | st.text() | st.binary() | st.dates() | st.integers(),
    lambda inside: (
        st.lists(inside)
        | st.tuples(inside, inside)
        | st.dictionaries(st.text() | st.integers() | st.none(), inside)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), ANYTHING))
def test_anything_else_is_refused_in_our_words(params):
    """What is not refused is strict JSON with no key changed."""
    try:
        text = encode_params(params)
    except ActionParamsError as exc:
        assert all(path.startswith("params") for path in exc.problems)  # noqa: PT017  # refusing is fine
    else:
        assert json.loads(text, parse_constant=pytest.fail).keys() == params.keys()


SCHEMA = {
    "type": "object",
    "properties": {
        "epochs": {"type": "integer", "minimum": 1},
        "optim": {"type": "object", "properties": {"lr": {"type": "number"}}},
        "layers": {"type": "array", "items": {"$ref": "#/$defs/layer"}},
    },
    "required": ["epochs"],
    "additionalProperties": False,
    "$defs": {"layer": {"type": "integer"}},
}


def test_params_that_fit_the_schema_pass():
    """A good call is not disturbed, tuples being arrays."""
    check_params({"epochs": 3, "optim": {"lr": 0.1}, "layers": (1, 2)}, SCHEMA, "train")


def test_params_against_the_schema_are_told_by_path():
    """All that breaks the schema is named, each by its path."""
    params = {"optim": {"lr": "fast"}, "layers": [1, "two"], "seed": 1}

    with pytest.raises(ActionParamsError) as caught:
        check_params(params, SCHEMA, "train")

    assert caught.value.problems["params.epochs"] == "is missing"
    assert "'fast'" in caught.value.problems["params.optim.lr"]
    assert "'two'" in caught.value.problems["params.layers[1]"]
    assert "'seed'" in caught.value.problems["params"]
    assert "'train'" in str(caught.value)


def test_no_schema_asks_for_nothing():
    """Without a schema anything goes, if JSON holds it."""
    check_params({"a": 1}, None, "train")


def test_schema_that_refers_elsewhere_fetches_nothing():
    """A reference to the net is a clear error and not a request."""
    schema = {"$ref": "http://127.0.0.1:9/schema.json"}

    with pytest.raises(ActionParamsError, match="refers to something outside it"):
        check_params({"a": 1}, schema, "train")
