"""A cluster for operators, and a task to run them in."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from airflow_synapse.operators.base import RayJobOperator
from airflow_synapse.rayjobs.base_executor import BaseRayExecutor
from tests.operators.task_instance import TaskInstance
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard


@pytest.fixture
def ti() -> TaskInstance:
    return TaskInstance()


@pytest.fixture
def stub(stub_dashboard: StubDashboard, monkeypatch: pytest.MonkeyPatch) -> StubDashboard:
    """A stub dashboard to which ``ray_default`` leads."""
    connection = {"conn_type": "ray", "host": stub_dashboard.url}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_DEFAULT", json.dumps(connection))
    monkeypatch.setattr(BaseRayExecutor, "pace", FAST_PACE)
    return stub_dashboard


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The task's log is one that a test can read; Airflow's own goes to standard output."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(RayJobOperator, "log", logging.getLogger("the task's log"))


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("name: p\nactions: {run: {entrypoint: 'actions:run'}}\n")
    return tmp_path
