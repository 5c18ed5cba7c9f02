"""A task instance outside Airflow, with what operators ask of it."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest

from airflow_synapse.rayjobs import job_watcher
from tests.support.stub_dashboard import StubDashboard


class TaskInstance:
    """Holds its place in a DAG run, and XComs."""

    def __init__(self, **fields: Any) -> None:
        self.dag_id = "dag"
        self.run_id = "run"
        self.task_id = "task"
        self.map_index = -1
        self.try_number = 1
        self.max_tries = 0
        self.start_date = datetime.now(timezone.utc)
        self.xcoms: dict[str, Any] = {}
        self.__dict__.update(fields)

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: Any = None) -> Any:
        return self.xcoms.get(key)


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
