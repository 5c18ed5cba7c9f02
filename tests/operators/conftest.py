"""A cluster for operators, and a task to run them in."""

from __future__ import annotations

import json

import pytest

from airflow_synapse.rayjobs import job_watcher
from tests.operators.task_instance import TaskInstance
from tests.support.stub_dashboard import StubDashboard


@pytest.fixture
def ti() -> TaskInstance:
    return TaskInstance()


@pytest.fixture
def stub(stub_dashboard: StubDashboard, monkeypatch: pytest.MonkeyPatch) -> StubDashboard:
    """A stub dashboard to which ``ray_default`` leads."""
    connection = {"conn_type": "ray", "host": stub_dashboard.url}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_DEFAULT", json.dumps(connection))
    monkeypatch.setattr(job_watcher, "_EAGER_POLL", 0.03)
    return stub_dashboard
