"""Decorators above and below ``@task.ray``."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG, setup, task, teardown

from airflow_synapse.decorators.ray import ray_task
from airflow_synapse.exceptions import FunctionSourceError
from airflow_synapse.version_compat import AirflowSkipException
from tests.decorators.running import execute, operator, sent
from tests.operators.task_instance import TaskInstance
from tests.support.stub_dashboard import StubDashboard


def twice(function: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> int:
        return 2 * function(*args, **kwargs)

    return wrapper


def test_wrapping_decorator_below_is_refused(stub: StubDashboard, ti: TaskInstance) -> None:
    """Without it, the job would return something else."""

    @ray_task
    @twice
    def work(a: int) -> int:
        return a

    with pytest.raises(FunctionSourceError, match="wrapped by another decorator"):
        execute(operator(work, 4), ti)
    assert not stub.calls


@pytest.mark.parametrize(
    ("decorate", "kind"),
    [
        (setup, "is_setup"),
        (teardown, "is_teardown"),
        (teardown(on_failure_fail_dagrun=True), "on_failure_fail_dagrun"),
    ],
)
def test_setup_and_teardown_run_as_jobs(
    stub: StubDashboard, ti: TaskInstance, decorate: Any, kind: str
) -> None:
    """Airflow's decorators mark the task; the function stays what it is."""

    @decorate
    @task.ray(wait_for_completion=False)
    def work(a: int) -> int:
        return a + 1

    decorated = operator(work, 4)
    execute(decorated, ti)

    assert getattr(decorated, kind) is True
    assert b"return a + 1" in sent(stub)[1]["airflow_task_work.py"]


@pytest.mark.parametrize("decorate", [task.run_if, task.skip_if])
@pytest.mark.parametrize("holds", [True, False])
def test_conditions_hold_for_jobs(
    stub: StubDashboard, ti: TaskInstance, decorate: Any, *, holds: bool
) -> None:
    """A condition is asked where the task runs, before the job, which does not know of it."""

    @decorate(lambda _: holds)
    @task.ray(wait_for_completion=False)
    def work(a: int) -> int:
        return a + 1

    decorated = operator(work, 4)
    may_skip = (
        pytest.raises(AirflowSkipException)
        if holds is (decorate is task.skip_if)
        else contextlib.nullcontext()
    )
    with may_skip:
        decorated._pre_execute_hook({"ti": ti})
    execute(decorated, ti)

    assert b"run_if" not in sent(stub)[1]["airflow_task_work.py"]


def test_function_inside_a_dag_is_sent(stub: StubDashboard, ti: TaskInstance) -> None:
    """Decorated where a DAG is made, it keeps its texts and leaves the DAG behind."""
    with DAG("dag", schedule=None):

        @task.ray(wait_for_completion=False)
        def work(table: str) -> str:
            return f"""
                SELECT *
                  FROM {table}
            """

        decorated: Any = work("t").operator  # type: ignore[attr-defined]

    execute(decorated, ti)

    source = sent(stub)[1]["airflow_task_work.py"]
    assert b"if True:\n        def work(table: str)" in source
    assert (
        b'f"""\n                SELECT *\n                  FROM {table}\n            """\n'
        in source
    )
