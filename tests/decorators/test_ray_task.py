"""``@task.ray``: a Python function as a Ray job."""

from __future__ import annotations

import inspect
import sys
import typing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_synapse.decorators.ray import ray_task
from airflow_synapse.exceptions import ActionParamsError, FunctionSourceError, PluginManifestError
from airflow_synapse.hooks.cluster_arguments import ClusterArguments
from airflow_synapse.operators.base import RayJobOperator
from tests.decorators.running import execute, operator, sent
from tests.operators.lazy_results import LazyResults
from tests.operators.task_instance import TaskInstance
from tests.support.stub_dashboard import StubDashboard

HERE = __name__


@ray_task(wait_for_completion=False)
def add(a: int, b: int = 2, *, c: int = 3) -> int:
    return a + b + c


def test_decorator_is_known_to_airflow() -> None:
    """``@task.ray`` is ours once the provider is installed."""

    @task.ray(num_cpus=2, retries=4)
    def work() -> None: ...

    decorated = operator(work)

    assert isinstance(decorated, RayJobOperator)
    assert (decorated.task_id, decorated.num_cpus, decorated.retries) == ("work", 2, 4)


def test_source_and_arguments_are_sent(stub: StubDashboard, ti: TaskInstance) -> None:
    """Arguments go by name, however they were given."""
    execute(operator(add, 1, c=5), ti)

    call, files = sent(stub)
    assert call["params"] == {"a": 1, "c": 5}
    assert call["entrypoint"] == "airflow_task_add:add"
    assert b"return a + b + c" in files["airflow_task_add.py"]
    assert b"ray_task" not in files["airflow_task_add.py"]


def test_context_is_given_where_it_is_asked_for(stub: StubDashboard, ti: TaskInstance) -> None:
    """What of Airflow's context JSON can hold arrives by its name, and nothing else."""

    @ray_task(wait_for_completion=False)
    def work(run_id: str, params: dict[str, Any], ts: str | None = None) -> None: ...

    context = {"run_id": "manual__1", "params": {"depth": 3}, "ts": "2026-01-01", "ds": "x"}
    execute(operator(work), ti, **context)

    assert sent(stub)[0]["params"] == {
        "run_id": "manual__1",
        "params": {"depth": 3},
        "ts": "2026-01-01",
    }


def test_context_that_can_not_be_sent_is_told(stub: StubDashboard, ti: TaskInstance) -> None:
    """A function that wants the task instance can't have it there."""

    @ray_task(wait_for_completion=False)
    def work(ti: Any, dag_run: Any = None) -> None: ...

    with pytest.raises(ActionParamsError, match=r"params\.ti is a part of Airflow's context"):
        execute(operator(work), ti)
    assert not stub.calls


def test_context_that_a_run_has_not_is_told(stub: StubDashboard, ti: TaskInstance) -> None:
    """A run that was triggered without a logical date has no ``ds``, which could be sent if it had."""

    @ray_task
    def work(ds: str, ts: str, expanded_ti_count: int, logical_date: Any) -> None: ...

    with pytest.raises(ActionParamsError) as caught:
        execute(operator(work), ti, run_id="manual__1")

    dated = "is not in this run's context because the run has no logical date; to allow that"
    problems = caught.value.problems
    assert problems["params.ds"].startswith(dated)
    assert problems["params.ts"].startswith(dated)
    assert problems["params.expanded_ti_count"].startswith(
        "is not in this run's context; to allow that"
    )
    assert (
        "can't be sent to a Ray job; the parts that can be sent are ds,"
        in problems["params.logical_date"]
    )
    assert not stub.calls


def test_context_with_the_default_none_may_be_missing(
    stub: StubDashboard, ti: TaskInstance
) -> None:
    """It stays None in the job, whether the run has it not or it can't be sent."""

    @ray_task(wait_for_completion=False)
    def work(a: int, ds: Any = None, ti: Any = None, dag_run: Any = None) -> Any:
        return [a, ds, ti, dag_run]

    execute(operator(work, 1), ti, dag_run=object(), run_id="manual__1")

    call, files = sent(stub)
    module: dict[str, Any] = {}
    exec(files["airflow_task_work.py"], module)
    assert module["work"](**call["params"]) == [1, None, None, None]


def test_argument_that_json_can_not_hold_is_told(stub: StubDashboard, ti: TaskInstance) -> None:
    """The error names the argument and where in it."""
    when = datetime.now(timezone.utc)

    with pytest.raises(ActionParamsError, match=r"params\.a\.when"):
        execute(operator(add, {"when": when}), ti)
    assert not stub.jobs


def test_function_that_uses_its_module_is_refused(stub: StubDashboard, ti: TaskInstance) -> None:
    """Before anything is sent."""

    @ray_task
    def work() -> str:
        return HERE

    with pytest.raises(FunctionSourceError, match="'HERE'"):
        execute(operator(work), ti)
    assert not stub.calls


def test_positional_only_is_refused(stub: StubDashboard, ti: TaskInstance) -> None:
    """Arguments travel by name."""

    @ray_task
    def work(a: int, /, *rest: int) -> None: ...

    with pytest.raises(ActionParamsError, match=r"params\.a can't be passed by name"):
        execute(operator(work, 1, 2), ti)


def test_results_of_mapped_tasks_arrive_as_a_list(stub: StubDashboard, ti: TaskInstance) -> None:
    """Airflow's lazy sequences are read before they are sent."""
    execute(operator(add, {"values": LazyResults()}), ti)

    assert sent(stub)[0]["params"] == {"a": {"values": [1, 2]}}


@pytest.mark.parametrize("manager", ["pip", "uv"])
def test_requirements_are_installed(stub: StubDashboard, ti: TaskInstance, manager: str) -> None:
    """A list of lines, with the package manager that was asked for."""

    @ray_task(requirements=["numpy==2.3.0"], package_manager=manager, wait_for_completion=False)
    def work() -> None: ...

    execute(operator(work), ti)

    (job,) = stub.jobs.values()
    assert job.request["runtime_env"][manager]["packages"] == ["numpy==2.3.0"]


def test_requirements_may_be_a_file(stub: StubDashboard, ti: TaskInstance, tmp_path: Path) -> None:
    """Read on the worker, with all that pip understands; a path that is wrong is told."""
    (tmp_path / "more.txt").write_text("emoji==2.15.0  # pinned\n")

    @ray_task(requirements=tmp_path / "more.txt", wait_for_completion=False)
    def work() -> None: ...

    @ray_task(requirements="none.txt")
    def lost() -> None: ...

    execute(operator(work), ti)
    with pytest.raises(PluginManifestError, match=r"none\.txt"):
        execute(operator(lost), ti)

    (job,) = stub.jobs.values()
    assert job.request["runtime_env"]["pip"]["packages"] == ["emoji==2.15.0"]


def test_async_function_is_submitted_like_any(stub: StubDashboard, ti: TaskInstance) -> None:
    """It is awaited in the job; here the operator stays what it is."""

    @ray_task(wait_for_completion=False)
    async def work() -> None: ...

    decorated = operator(work)
    execute(decorated, ti)

    assert decorated.is_async is False
    assert b"async def work" in sent(stub)[1]["airflow_task_work.py"]


def test_plain_call_outside_a_dag_is_the_function() -> None:
    """As with all TaskFlow functions, the function itself is at hand for tests."""
    assert add.function(1) == 6


@pytest.mark.skipif(sys.version_info < (3, 11), reason="overloads can be looked at since 3.11")
def test_type_checkers_are_told_all_arguments() -> None:
    """The decorator's signature for type checkers has every argument of the operator."""
    with_arguments = typing.get_overloads(ray_task)[1]

    told = inspect.signature(with_arguments).parameters
    taken = {
        **inspect.signature(ClusterArguments.__init__).parameters,
        **inspect.signature(RayJobOperator.__init__).parameters,
    }
    assert set(taken) - {"self"} <= set(told)
    assert set(told) - set(taken) == {"multiple_outputs", "requirements"}
    assert {name: told[name].annotation for name in taken if name != "self"} == {
        name: parameter.annotation for name, parameter in taken.items() if name != "self"
    }


@pytest.mark.parametrize(
    ("args", "kwargs", "params"),
    [
        ((), {"n": 3}, {"n": 3}),
        ((3,), {}, {"n": 3}),
        ((), {"n": 3, "job": "mine"}, {"n": 3, "job": "mine"}),
        (("mine", 3), {}, {"n": 3, "job": "mine"}),
    ],
)
def test_job_is_given_by_the_job_unless_the_dag_gives_it(
    stub: StubDashboard, ti: TaskInstance, args: Any, kwargs: Any, params: Any
) -> None:
    """A parameter of that name needs no argument, and keeps the one that it has."""

    @ray_task(wait_for_completion=False)
    def work(job: Any, n: int, ds: str | None = None) -> None: ...

    execute(operator(work, *args, **kwargs), ti)

    call, _ = sent(stub)
    assert call["params"] == params


def test_default_of_job_is_no_reason_to_shift_arguments(
    stub: StubDashboard, ti: TaskInstance
) -> None:
    """A DAG that gave it by position before goes on to do so."""

    @ray_task(wait_for_completion=False)
    def work(job: str, n: int = 2) -> None: ...

    execute(operator(work, "mine"), ti)

    call, _ = sent(stub)
    assert call["params"] == {"job": "mine"}


def test_mapped_task_gets_its_job_too(stub: StubDashboard, ti: TaskInstance) -> None:
    """The DAG maps over the other arguments only."""

    @ray_task(wait_for_completion=False)
    def work(job: Any, n: int, m: int) -> None: ...

    with DAG("dag", schedule=None):
        mapped = work.partial(m=1).expand(n=[2, 3]).operator

    execute(mapped.unmap({"op_kwargs": {"n": 2, "m": 1}}), ti)

    call, _ = sent(stub)
    assert call["params"] == {"m": 1, "n": 2}
