"""A small Airflow for the view: a database with a task instance, users, and a cluster."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from airflow import __version__ as airflow_version
from airflow import settings
from airflow.api_fastapi.app import create_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, insert
from sqlalchemy.orm import scoped_session, sessionmaker

from airflow_synapse.handover.job_metadata import TaskInstanceRef
from airflow_synapse.views.app import create_app
from tests.support.stub_dashboard import StubDashboard

TASK_REF = TaskInstanceRef("dag", "manual__2026-01-01T00:00:00+00:00", "train")
JOB_ID = "dag.train.1.abc"
FIELDS = {"ray_conn_id": "ray_default", "job_id": None, "num_cpus": 2, "memory": 2**31}

AddTask = Callable[..., None]


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An engine with Airflow's tables."""
    from airflow.models import import_all_models
    from airflow.models.base import Base

    import_all_models()
    engine = create_engine(f"sqlite:///{tmp_path_factory.mktemp('airflow') / 'airflow.db'}")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def database(tables: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The database that Airflow uses, empty."""
    sessions = scoped_session(sessionmaker(bind=tables, expire_on_commit=False))
    monkeypatch.setattr(settings, "Session", sessions)
    yield tables
    sessions.remove()
    from airflow.models.base import Base

    with tables.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())


@pytest.fixture
def add_task(database: Any) -> AddTask:
    """Puts a task instance at :data:`TASK_REF` with rendered fields and XComs."""

    def add(
        *,
        fields: dict[str, Any] | None = None,
        job_id: str | None = JOB_ID,
        state: str | None = "success",
        map_index: int = -1,
    ) -> None:
        from airflow.models.dagrun import DagRun
        from airflow.models.renderedtifields import RenderedTaskInstanceFields
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.xcom import XComModel

        where = {
            "dag_id": TASK_REF.dag_id,
            "run_id": TASK_REF.run_id,
            "task_id": TASK_REF.task_id,
            "map_index": map_index,
        }
        # A string before Airflow 3.2.
        ti_id = TaskInstance.__table__.c.id.type.python_type(str(uuid.uuid4()))
        task = {**where, "id": ti_id, "state": state, "pool": "p", "pool_slots": 1}
        run = {
            "id": 1,
            "dag_id": TASK_REF.dag_id,
            "run_id": TASK_REF.run_id,
            "run_type": "manual",
            "data_interval_end": None,
            "logical_date": None,
            "log_template_id": 1,
        }
        rendered = FIELDS if fields is None else fields
        xcom = {**where, "dag_run_id": 1, "key": "job_id", "value": job_id}
        with database.begin() as connection:
            connection.execute(insert(DagRun.__table__).prefix_with("OR IGNORE").values(run))
            connection.execute(insert(TaskInstance.__table__).values(task))
            connection.execute(
                insert(RenderedTaskInstanceFields.__table__).values(
                    {**where, "rendered_fields": rendered}
                )
            )
            if job_id is not None:
                connection.execute(insert(XComModel.__table__).values(xcom))

    return add


@pytest.fixture
def cluster(stub_dashboard: StubDashboard, monkeypatch: pytest.MonkeyPatch) -> StubDashboard:
    """A stub dashboard to which ``ray_default`` leads."""
    connect(monkeypatch, stub_dashboard.url)
    return stub_dashboard


def connect(monkeypatch: pytest.MonkeyPatch, url: str, **fields: Any) -> None:
    """Let ``ray_default`` be a connection to this URL."""
    connection = {"conn_type": "ray", "host": url, **fields}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_DEFAULT", json.dumps(connection))


def add_job(cluster: StubDashboard, job_id: str = JOB_ID, **script: Any) -> Any:
    """Have the job that the task at :data:`TASK_REF` submitted."""
    job = cluster.add_job(job_id, **script)
    job.request["metadata"] = {**TASK_REF.metadata(), "airflow_synapse_owner": "0wner"}
    return job


@pytest.fixture(scope="session")
def auth_manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Airflow's own, so that users and their roles are real."""
    passwords: Path = tmp_path_factory.mktemp("auth") / "passwords.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", uuid.uuid4().hex * 2)
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(passwords))
        yield create_auth_manager()


@pytest.fixture
def log_in(database: Any, auth_manager: Any) -> Iterator[Callable[[str | None], TestClient]]:
    """Returns a browser that is logged in with a role, as Airflow's UI is: by cookie."""
    if airflow_version == "3.1.0":
        pytest.skip("Airflow 3.1.0 reads no cookie, so there is no tab")
    clients = []

    def log_in(role: str | None) -> TestClient:
        user = SimpleAuthManagerUser(username="somebody", role=role)
        client = TestClient(create_app(), cookies={"_token": auth_manager.generate_jwt(user)})
        clients.append(client)
        return client

    yield log_in
    for client in clients:
        client.close()


@pytest.fixture
def show(log_in: Callable[[str], TestClient]) -> Callable[..., Any]:
    """Returns the answer to a viewer who opens the tab of the task at :data:`TASK_REF`."""
    client = log_in("viewer")
    return lambda map_index="{MAP_INDEX}": client.get(url_of_page(map_index))


def url_of_page(
    map_index: object = "{MAP_INDEX}", *, dag_id: str = TASK_REF.dag_id, is_escaped: bool = True
) -> str:
    """Return what Airflow's UI makes of the href."""
    run_id = quote(TASK_REF.run_id) if is_escaped else TASK_REF.run_id
    path = f"/tasks/{dag_id}/{run_id}/{TASK_REF.task_id}"
    return f"{path}?{urlencode({'map_index': str(map_index)})}"
