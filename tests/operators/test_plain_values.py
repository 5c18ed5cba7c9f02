"""Values that Airflow makes become what JSON holds."""

from __future__ import annotations

import functools
import io
import json
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import lazy_object_proxy
import pytest
from airflow.sdk import Param
from airflow.sdk.definitions.param import ParamsDict

from airflow_synapse.exceptions import ActionParamsError
from airflow_synapse.operators.plain_values import plain
from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator
from airflow_synapse.plugin.params import encode_params
from tests.operators.lazy_results import LazyResults
from tests.operators.running import run
from tests.operators.task_instance import TaskInstance
from tests.support.stub_dashboard import StubDashboard


def an_action(plugin: Path, action_params: Any) -> SubmitPluginActionOperator:
    return SubmitPluginActionOperator(
        task_id="task",
        action_name="run",
        action_params=action_params,
        working_dir=str(plugin),
        wait_for_completion=False,
    )


def sent_params(stub: StubDashboard) -> Any:
    (job,) = stub.jobs.values()
    uri = job.request["runtime_env"]["py_modules"][0]
    with zipfile.ZipFile(io.BytesIO(stub.packages[uri])) as package:
        (call,) = (name for name in package.namelist() if name.endswith("call.json"))
        return json.loads(package.read(call))["params"]


def test_action_gets_what_mapped_tasks_returned(
    stub: StubDashboard, ti: TaskInstance, plugin: Path
) -> None:
    """Their results, and params of the DAG, arrive as lists and objects, however deep they are."""
    given = {"scores": LazyResults(1, 2), "all": {"params": ParamsDict({"depth": Param(3)})}}

    run(an_action(plugin, given), ti)

    assert sent_params(stub) == {"scores": [1, 2], "all": {"params": {"depth": 3}}}
    assert isinstance(given["scores"], LazyResults)


def test_all_params_may_be_those_of_the_dag(
    stub: StubDashboard, ti: TaskInstance, plugin: Path
) -> None:
    """As in ``action_params="{{ dag.params }}"`` with native rendering."""
    run(an_action(plugin, ParamsDict({"depth": 3})), ti)

    assert sent_params(stub) == {"depth": 3}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"a": LazyResults(datetime(2026, 1, 1))}, r"params\.a\[0\] is of type datetime\.datetime"),
        ([1], "params is of type list, not a mapping"),
    ],
)
def test_what_json_can_not_hold_is_told(
    stub: StubDashboard, ti: TaskInstance, plugin: Path, given: Any, problem: str
) -> None:
    """By its place, before anything is sent."""
    with pytest.raises(ActionParamsError, match=problem):
        run(an_action(plugin, given), ti)
    assert not stub.jobs


@pytest.mark.parametrize(
    "value", [None, "text", b"bytes", 1, 1.5, True, [], {}, [1, {"a": [None]}], {"a": {1: 2}}]
)
def test_plain_values_stay(value: Any) -> None:
    """What is plain already is not changed."""
    assert plain(value) == value
    assert type(plain(value)) is type(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (LazyResults(LazyResults(1), {"a": (1, 2)}), [[1], {"a": [1, 2]}]),
        (lazy_object_proxy.Proxy(lambda: {"a": LazyResults(1)}), {"a": [1]}),
        ({"a": lazy_object_proxy.Proxy(lambda: "text")}, {"a": "text"}),
        # Each is made anew, so that the next may stand where the one before it was.
        (LazyResults({"a": 1}, {"a": 2}, {"a": 3}), [{"a": 1}, {"a": 2}, {"a": 3}]),
    ],
)
def test_wrappings_are_taken_off(value: Any, expected: Any) -> None:
    """Lazy results, proxies and tuples, in each other too."""
    assert plain(value) == expected


def test_value_that_contains_itself_is_told_as_such() -> None:
    """It is not followed for ever, nor is it hidden."""
    value: dict[str, Any] = {"more": []}
    value["more"].extend([value, value])

    with pytest.raises(ActionParamsError, match="contains itself"):
        encode_params(plain(value))


def test_value_that_is_too_deep_is_told_as_such() -> None:
    """Python's own limit is not met."""
    value = functools.reduce(lambda inside, _: {"a": inside}, range(5000), {})

    with pytest.raises(ActionParamsError, match="nested more than 200 levels deep"):
        encode_params(plain(value))
