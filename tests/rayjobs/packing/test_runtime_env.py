"""Merging runtime_envs."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse.exceptions import RayJobSubmissionError
from airflow_synapse.rayjobs.packing.runtime_env import merge_runtime_env


def test_last_wins_lists_grow_and_mappings_are_merged():
    """Each kind of value in its way, at every depth."""
    merged = merge_runtime_env(
        {"working_dir": "a", "env_vars": {"A": "1", "B": "1"}, "py_modules": ["x"]},
        None,
        {"config": {"setup_timeout_seconds": 5, "eager_install": True}, "py_modules": ["y"]},
        {"working_dir": "b", "env_vars": {"B": "2"}, "config": {"eager_install": False}},
    )

    assert merged == {
        "working_dir": "b",
        "env_vars": {"A": "1", "B": "2"},
        "py_modules": ["x", "y"],
        "config": {"setup_timeout_seconds": 5, "eager_install": False},
    }


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_requirements_grow_in_whatever_form_they_are_given(installer):
    """A list and a mapping are the same thing; the options of the mapping stay."""
    merged = merge_runtime_env(
        {installer: ["a"]},
        {installer: {"packages": ["b"], f"{installer}_version": "==1"}},
        {installer: ("c",)},
    )

    assert merged == {installer: {"packages": ["a", "b", "c"], f"{installer}_version": "==1"}}


def test_installer_that_installs_nothing_is_left_out():
    """Ray refuses options without packages, and an environment for nothing takes seconds."""
    assert merge_runtime_env({"pip": {"pip_check": True}}, {"uv": []}) == {}


def test_none_takes_a_key_away():
    """So that a caller can undo what a plugin wants."""
    merged = merge_runtime_env({"pip": ["a"], "env_vars": {"A": "1"}}, {"pip": None, "uv": ["a"]})

    assert merged == {"uv": {"packages": ["a"]}, "env_vars": {"A": "1"}}


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ([{"pip": ["a"]}, {"uv": ["b"]}], "its runtime_env has pip and uv"),
        ([{"pip": ["a"], "conda": {"dependencies": ["b"]}}], "its runtime_env has pip and conda"),
        ([{"pip": "requirements.txt"}], "requirements_file"),
        ([{"uv": 5}], "is an int"),
        ([["pip"]], "is a list, not a mapping"),
        ([{"env_vars": {"A": 1}}], "'A'] is an int, not a string"),
        ([{"env_vars": ["A"]}], "env_vars'] is a list"),
    ],
)
def test_what_ray_would_refuse_is_refused_here(layers, told):
    """The error names the key, never the value of an environment variable."""
    with pytest.raises(RayJobSubmissionError) as caught:
        merge_runtime_env(*layers)

    assert told in str(caught.value)


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inside: (
        st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from("abc"), inside, max_size=3)
    ),
    max_leaves=8,
)
LAYERS = st.dictionaries(st.sampled_from(["working_dir", "config", "py_modules", "x"]), VALUES)


@given(st.lists(LAYERS, max_size=4))
def test_inputs_are_left_alone_and_share_nothing_with_the_outcome(layers):
    """A merged runtime_env can be changed without changing anybody's arguments."""
    before = copy.deepcopy(layers)

    _spoil(merge_runtime_env(*layers))

    assert layers == before


def _spoil(value: object) -> None:
    if isinstance(value, dict):
        for inside in value.values():
            _spoil(inside)
        value["spoilt"] = True
    elif isinstance(value, list):
        for inside in value:
            _spoil(inside)
        value.append("spoilt")


@given(LAYERS, LAYERS, LAYERS)
def test_merging_step_by_step_comes_to_the_same(first, second, third):
    """Unless a key was taken away, which a later layer can't see."""
    plain = [_without_none(layer) for layer in (first, second, third)]

    assert merge_runtime_env(merge_runtime_env(*plain[:2]), plain[2]) == merge_runtime_env(*plain)


def _without_none(value):
    if isinstance(value, dict):
        return {key: _without_none(v) for key, v in value.items() if v is not None}
    return [_without_none(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("variable", [{"": "x"}, {"A=B": "x"}, {"A\0": "x"}, {"A": "secret\0"}])
def test_variable_that_no_process_can_have_is_refused(variable: dict[str, str]) -> None:
    """Ray would leave such a job PENDING for ever. The error does not show the value."""
    with pytest.raises(RayJobSubmissionError, match="environment variable") as caught:
        merge_runtime_env({"env_vars": variable})

    assert "secret" not in str(caught.value)
