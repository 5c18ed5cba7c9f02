"""Each templated argument takes what a template can render to, as text and as a native value."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_synapse.decorators.ray import RayDecoratedOperator, ray_task
from airflow_synapse.exceptions import ActionNotFoundError, RayJobSubmissionError
from airflow_synapse.operators.base import RayJobOperator
from airflow_synapse.operators.house_keeping import DeleteRayJobsOperator, StopRayJobOperator
from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator
from airflow_synapse.operators.ray_job import SubmitRayJobOperator
from airflow_synapse.sensors.ray_job import RayJobSensor
from tests.operators.running import deferred, run, runtime_env_of
from tests.operators.task_instance import TaskInstance
from tests.support.stub_dashboard import StubDashboard

VALUES: dict[str, Any] = {
    "working_dir": None,  # the plugin's, set by the test
    "requirements_file": "reqs.txt",
    "package_manager": "uv",
    "package_manager_options": ["--no-deps", ""],
    "wheels_dir": "wheels",
    "env": {"N": 5, "DOLLARS": "1$"},
    "runtime_env": {"env_vars": {"M": 6}, "py_modules": None, "config": "{'eager_install': False}"},
    "num_cpus": 0.5,
    "num_gpus": 1,
    "memory": 1024,
    "custom_resources": {"shard": 0.25, "unused": None},
    "label_selector": {"zone": 3},
    "metadata": {"chunk": 7},
    "storage_path": "/mnt/7",
    "job_id": 2024,
    "poll_interval": timedelta(milliseconds=50),
    "job_timeout": timedelta(days=1, hours=2),
    "pending_timeout": 90,
    "unreachable_timeout": timedelta(minutes=3),
    "log_lines_per_second": 1000,
    "ray_conn_id": 7,
}
"""What is in the DAG run's params, by the argument that gets it from there."""

OF_KUBERAY = {"ray_cluster", "kubernetes_conn_id", "reach"}
"""What says where the cluster is instead of ``ray_conn_id``; tests of the hooks have it."""

NATIVE = pytest.mark.parametrize("is_native", [False, True], ids=["as text", "native"])


def rendered(operator: Any, values: dict[str, Any], *, is_native: bool) -> Any:
    """Return the operator in a run with these values."""
    DAG("dag", schedule=None, render_template_as_native_obj=is_native).add_task(operator)
    operator.render_template_fields({"ti": TaskInstance(), "given": values})
    return operator


def templates(values: dict[str, Any]) -> dict[str, str]:
    return {name: f"{{{{ given.{name} }}}}" for name in values}


@pytest.fixture
def seventh(stub: StubDashboard, monkeypatch: pytest.MonkeyPatch, plugin: Path) -> StubDashboard:
    """The stub is a cluster whose connection has a number for a name."""
    connection = json.dumps({"conn_type": "ray", "host": stub.url})
    monkeypatch.setenv("AIRFLOW_CONN_7", connection)
    (plugin / "reqs.txt").write_text("polars\n")
    return stub


@NATIVE
def test_every_argument_takes_a_template(
    seventh: StubDashboard, ti: TaskInstance, plugin: Path, *, is_native: bool
) -> None:
    """Numbers come as text or text as numbers, mappings as the text of one, and all mean the same."""
    values = {**VALUES, "working_dir": str(plugin)}
    assert values.keys() | OF_KUBERAY == set(RayJobOperator.template_fields)
    operator = SubmitRayJobOperator(
        task_id="task", entrypoint="true", deferrable=True, **templates(values)
    )

    trigger = deferred(rendered(operator, values, is_native=is_native), ti).trigger

    request = seventh.jobs["2024"].request
    runtime_env = runtime_env_of(request)
    assert request["entrypoint_num_cpus"] == 0.5
    assert request["entrypoint_num_gpus"] == 1
    assert request["entrypoint_memory"] == 1024
    assert request["entrypoint_resources"] == {"shard": 0.25}
    assert request["entrypoint_label_selector"] == {"zone": "3"}
    assert request["metadata"]["chunk"] == "7"
    assert runtime_env["env_vars"].pop("AIRFLOW_SYNAPSE_STORAGE_PATH") == "/mnt/7/dag/run/task/0"
    assert runtime_env["env_vars"] == {"N": "5", "DOLLARS": "1$", "M": "6"}
    assert runtime_env["config"]["eager_install"] is False
    assert "polars" in runtime_env["uv"]["packages"]
    assert runtime_env["uv"]["uv_pip_install_options"][-1] == "--no-deps"
    _, arguments = trigger.serialize()
    assert arguments["ray_conn_id"] == "7"
    assert arguments["poll_interval"] == 0.05
    assert arguments["unreachable_timeout"] == 180.0
    assert arguments["log_lines_per_second"] == 1000
    lasting = arguments["deadlines"]["job_timeout"] - arguments["deadlines"]["pending_timeout"]
    assert lasting == 26 * 3600 - 90


@NATIVE
def test_nothing_is_as_if_not_given(
    stub: StubDashboard, ti: TaskInstance, *, is_native: bool
) -> None:
    """A template that renders to None, or to its text, leaves the default in place."""
    values = dict.fromkeys(VALUES)
    operator = SubmitRayJobOperator(
        task_id="task", entrypoint="true", deferrable=True, **templates(values)
    )

    trigger = deferred(rendered(operator, values, is_native=is_native), ti).trigger

    ((job_id, job),) = stub.jobs.items()
    assert job_id.startswith("dag.task.1.")
    assert not [name for name in job.request if name.startswith("entrypoint_")]
    assert runtime_env_of(job.request) == {}
    _, arguments = trigger.serialize()
    assert arguments["deadlines"] == {}
    assert (arguments["poll_interval"], arguments["unreachable_timeout"]) == (5.0, 600.0)


@NATIVE
def test_params_of_an_action_from_a_template(
    stub: StubDashboard, ti: TaskInstance, plugin: Path, *, is_native: bool
) -> None:
    """An action may have a number for a name, and its params may come as the text of a mapping."""
    (plugin / "config.yaml").write_text("name: p\nactions: {7: {entrypoint: 'actions:run'}}\n")
    values = {"action_name": 7, "action_params": {"epochs": 3}}
    operator = SubmitPluginActionOperator(
        task_id="task", working_dir=plugin, wait_for_completion=False, **templates(values)
    )

    run(rendered(operator, values, is_native=is_native), ti)

    (job,) = stub.jobs.values()
    assert job.request["metadata"]["airflow_synapse_action"] == "7"
    assert any(b'"params": {"epochs":3}' in _call_of(package) for package in stub.packages.values())


def _call_of(package: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        calls = [name for name in archive.namelist() if name.endswith("call.json")]
        return archive.read(calls[0]) if calls else b""


@NATIVE
def test_requirements_of_a_function_from_a_template(
    stub: StubDashboard, ti: TaskInstance, *, is_native: bool
) -> None:
    """A list may come as its text, and an item that rendered to nothing is none."""

    def work() -> None: ...

    values = {"requirements": ["polars", None]}
    with DAG("dag", schedule=None, render_template_as_native_obj=is_native):
        operator: Any = ray_task(wait_for_completion=False, **templates(values))(work)().operator
    assert isinstance(operator, RayDecoratedOperator)
    operator.render_template_fields({"ti": ti, "given": values})

    run(operator, ti)

    (job,) = stub.jobs.values()
    assert job.request["runtime_env"]["pip"]["packages"] == ["polars"]


@pytest.mark.parametrize("kind", [StopRayJobOperator, RayJobSensor])
@NATIVE
def test_job_must_not_be_nothing(
    stub: StubDashboard, ti: TaskInstance, kind: Any, *, is_native: bool
) -> None:
    """Nobody is asked about a job called None."""
    operator = kind(task_id="task", job_id="{{ given.id }}")

    with pytest.raises(ValueError, match=r"job_id is .*rendered to nothing"):
        run(rendered(operator, {"id": None}, is_native=is_native), ti)

    assert stub.count() == 0


@NATIVE
def test_work_must_not_be_nothing(
    stub: StubDashboard, ti: TaskInstance, plugin: Path, *, is_native: bool
) -> None:
    """No command and no action is called None."""
    command = SubmitRayJobOperator(task_id="task", entrypoint="{{ given.it }}")
    action = SubmitPluginActionOperator(
        task_id="action", action_name="{{ given.it }}", working_dir=plugin
    )

    with pytest.raises(RayJobSubmissionError, match="its entrypoint is None"):
        run(rendered(command, {"it": None}, is_native=is_native), ti)
    with pytest.raises(ActionNotFoundError, match="Available actions: run"):
        run(rendered(action, {"it": None}, is_native=is_native), ti)

    assert stub.count() == 0


@NATIVE
def test_job_of_a_number(stub: StubDashboard, ti: TaskInstance, *, is_native: bool) -> None:
    """A submission ID that is a number is text again for the sensor and for who stops a job."""
    stub.add_job("2024", runtime=0.0)
    for kind in (RayJobSensor, StopRayJobOperator):
        operator = kind(task_id="task", job_id="{{ given.id }}")

        run(rendered(operator, {"id": 2024}, is_native=is_native), ti)


@NATIVE
def test_age_of_jobs_to_delete(stub: StubDashboard, ti: TaskInstance, *, is_native: bool) -> None:
    """A timedelta is one again after it was text."""
    operator = DeleteRayJobsOperator(task_id="task", older_than="{{ given.age }}", only_own=False)

    assert run(rendered(operator, {"age": timedelta(days=9)}, is_native=is_native), ti) == 0


@pytest.mark.parametrize("field", ["poll_interval", "unreachable_timeout", "log_lines_per_second"])
def test_what_is_no_number_is_refused_before_anything_is_sent(
    stub: StubDashboard, ti: TaskInstance, field: str
) -> None:
    """The error names the argument and what was given."""
    operator = SubmitRayJobOperator(task_id="task", entrypoint="true", **{field: "soon"})

    with pytest.raises(ValueError, match=f"{field} is 'soon'"):
        run(operator, ti)

    assert stub.count() == 0


def test_credentials_are_in_no_rendered_template(stub: StubDashboard, ti: TaskInstance) -> None:
    """Airflow stores and shows rendered templates. A presigned working_dir and an index's password are not."""
    values = {
        "uri": "https://bucket/p.zip?X-Amz-Signature=s3cret",
        "index": "https://me:s3cret@host",
    }
    operator = SubmitPluginActionOperator(
        task_id="task",
        action_name="m:run",
        working_dir="{{ given.uri }}",
        package_manager_options=["--index-url={{ given.index }}"],
        wait_for_completion=False,
    )

    operator = rendered(operator, values, is_native=False)
    run(operator, ti)

    shown = {name: getattr(operator, name) for name in operator.template_fields}
    (job,) = stub.jobs.values()
    assert "s3cret" not in str(shown)
    assert job.request["runtime_env"]["working_dir"] == values["uri"]
    assert "s3cret" not in str(job.request["metadata"])


def test_usual_folder_is_shown(plugin: Path) -> None:
    """Only what has credentials is kept back."""
    operator = SubmitPluginActionOperator(
        task_id="task", action_name="run", working_dir="{{ given.uri }}"
    )

    operator = rendered(operator, {"uri": "s3://bucket/p.zip"}, is_native=False)

    assert "working_dir" in operator.template_fields
