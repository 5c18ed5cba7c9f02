"""A cluster that is reached through a Kubernetes API server, in front of the stub dashboard and of a real Ray.

``tests/kubernetes`` shows the same on a Kubernetes of real parts.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_synapse.hooks.ray_job import RayJobHook
from airflow_synapse.operators.base import RayJobOperator
from airflow_synapse.triggers.ray_job import RayJobTrigger
from airflow_synapse.version_compat import TaskDeferred
from tests.operators.task_instance import TaskInstance
from tests.support.kubernetes.stub_api_server import StubApiServer
from tests.support.raw_dashboard import Dashboard

pytest.importorskip("airflow.providers.cncf.kubernetes")
try:  # Airflow 3.2 moved it
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag

pytestmark = pytest.mark.timeout(240)

EXAMPLES = Path(__file__).parents[2] / "dags_examples"


@pytest.fixture
def api_server(
    dashboard: Dashboard,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[StubApiServer]:
    """An API server with the cluster ray/train."""
    stub = dashboard.stub
    agent = stub.agent_url if stub is not None else request.getfixturevalue("ray_head").agent_url
    with StubApiServer(dashboard.url, agent) as server:
        extra = {"kube_config_path": str(server.kubeconfig(tmp_path))}
        connection = {"conn_type": "kubernetes", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))
        yield server


async def test_example_runs_through_the_api_server(
    dashboard: Dashboard,
    api_server: StubApiServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The task submits its job, defers, shows the log and ends; it needs no Ray connection."""
    task = DagBag(EXAMPLES / "kuberay.py").dags["kuberay"].get_task("greet")
    if dashboard.stub is not None:
        dashboard.stub.script(runtime=0.5, log=((0.1, b"Hello from here\n"),))
    context: Any = {"ti": TaskInstance(task_id="greet")}
    caplog.set_level("INFO")
    for kind in (RayJobOperator, RayJobTrigger):
        monkeypatch.setattr(kind, "log", logging.getLogger("the task's log"))

    with pytest.raises(TaskDeferred) as deferral:
        await asyncio.to_thread(task.execute, context)
    (event,) = [event.payload async for event in deferral.value.trigger.run()]
    await asyncio.to_thread(task.execute_complete, context, event)

    assert event["status"] == "SUCCEEDED"
    assert any("Hello from" in record.getMessage() for record in caplog.records)
    assert any("/pods/" in call.path and "Range" in call.headers for call in api_server.calls)


def test_package_and_result_pass(api_server: StubApiServer, tmp_path: Path) -> None:
    """Code goes up, and what ends is deleted: each kind of request passes the API server."""
    hook = RayJobHook(ray_cluster="ray/train", working_dir=tmp_path)
    (tmp_path / "code.py").write_text("print('ran')")

    job_id = hook.submit_entrypoint("python code.py")

    assert hook.wait(job_id, timeout_seconds=60) == "SUCCEEDED"
    assert hook.delete(job_id)
