"""Which job a page is about, and over which connection, where Airflow has forgotten what was rendered."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from airflow.models import dagbag
from airflow.sdk import DAG, task

from airflow_synapse.operators.ray_job import SubmitRayJobOperator
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER
from tests.views.conftest import FIELDS, JOB_ID, TASK_REF, AddTask, add_job, url_of_page

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

try:
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:  # Airflow 3.1
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization

Show = Callable[..., Any]

OF_XCOM = {"ray_conn_id": "ray_default", "job_id": None}


@pytest.fixture
def have_dag(monkeypatch: pytest.MonkeyPatch) -> Callable[[DAG], None]:
    """Lets Airflow's database have a DAG, as the API server reads it."""
    # Reading a DAG loads plugins for good, and one of Airflow's own examples is a listener.
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")

    def have(dag: DAG) -> None:
        kept = DagSerialization.from_dict(DagSerialization.to_dict(dag))

        class Bag:
            def __init__(self, **_: Any) -> None:
                pass

            def get_dag_for_run(self, *_: Any, **__: Any) -> Any:
                return kept

        monkeypatch.setattr(dagbag, "DBDagBag", Bag)

    return have


def add_forgotten(add_task: AddTask, **options: Any) -> None:
    """Have a task instance whose rendered fields Airflow has dropped."""
    add_task(fields={}, **options)


# Jobs that an XCom names


def test_xcom_of_a_task_without_a_job_is_not_looked_at(
    cluster: StubDashboard, add_task: AddTask, show: Show
) -> None:
    """A task that has a connection and no job, as house-keeping, shows none, whatever its XComs say."""
    cluster.add_job("of-others", log=((0.0, b"confidential"),))
    add_task(fields={"older_than": "P7D", "ray_conn_id": "ray_default"}, job_id="of-others")

    page = show().text

    assert "This task does not run a Ray job." in page
    assert "confidential" not in page
    assert cluster.calls == []


@pytest.mark.parametrize("may_see", [True, False])
def test_job_of_another_dag_needs_the_rights_for_that_dag(
    may_see: bool,
    cluster: StubDashboard,
    add_task: AddTask,
    log_in: Callable[[str], TestClient],
    auth_manager: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An XCom leads a sensor's page to a job of another DAG for those only who may see its logs."""
    job = add_job(cluster, log=((0.0, b"confidential"),))
    job.request["metadata"]["airflow_dag_id"] = "of-others"
    add_task(fields=OF_XCOM)

    def is_authorized_dag(*, access_entity: Any, details: Any, **_: Any) -> bool:
        return may_see or details.id == TASK_REF.dag_id or access_entity.name != "TASK_LOGS"

    monkeypatch.setattr(auth_manager, "is_authorized_dag", is_authorized_dag)

    page = html.unescape(log_in("viewer").get(url_of_page()).text)

    assert ("confidential" in page) is may_see
    assert ("a job of another DAG whose logs you are not allowed to see" in page) is not may_see


def test_job_that_the_sensor_s_dag_names_needs_no_further_rights(
    cluster: StubDashboard,
    add_task: AddTask,
    log_in: Callable[[str], TestClient],
    auth_manager: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sensor waits for a job of another DAG, and shows what it logs, as its own log does."""
    job = add_job(cluster, runtime=NEVER)
    job.request["metadata"]["airflow_dag_id"] = "of-others"
    add_task(fields={**OF_XCOM, "job_id": JOB_ID}, job_id=None)
    monkeypatch.setattr(
        auth_manager, "is_authorized_dag", lambda *, details, **_: details.id == TASK_REF.dag_id
    )

    assert "badge running" in log_in("viewer").get(url_of_page()).text


# Mapped tasks


def test_mapped_task_with_the_default_connection_keeps_its_page(
    cluster: StubDashboard, add_task: AddTask, show: Show, have_dag: Callable[[DAG], None]
) -> None:
    """What nobody gave a mapped task is the default; resources are found under either name."""
    job = add_job(cluster, entrypoint="python train.py s3cret")
    job.request["metadata"]["airflow_map_index"] = "1"
    with DAG("dag", schedule=None) as dag:
        SubmitRayJobOperator.partial(task_id="train", resources={"tpu": 1}).expand(
            entrypoint=["python train.py {{ var.value.a }}"]
        )
    have_dag(dag)
    add_forgotten(add_task, map_index=1)

    page = show(map_index=1).text

    assert "badge succeeded" in page
    assert "resources tpu: 1" in page
    assert "<dd>ray_default</dd>" in page
    assert '<pre class="entrypoint">***</pre>' in page


def test_mapped_function_with_the_default_connection_keeps_its_page(
    cluster: StubDashboard, add_task: AddTask, show: Show, have_dag: Callable[[DAG], None]
) -> None:
    """The arguments that a function is expanded by are none of its job's."""
    job = add_job(cluster)
    job.request["metadata"]["airflow_map_index"] = "1"
    with DAG("dag", schedule=None) as dag:

        @task.ray(custom_resources={"tpu": 1})
        def train(ray_conn_id: int) -> None: ...

        train.expand(ray_conn_id=[1, 2])
    have_dag(dag)
    add_forgotten(add_task, map_index=1)

    page = show(map_index=1).text

    assert "badge succeeded" in page
    assert "resources tpu: 1" in page


def test_connection_that_the_dag_gives_all_its_tasks_is_used(
    cluster: StubDashboard, add_task: AddTask, show: Show, have_dag: Callable[[DAG], None]
) -> None:
    """A DAG's default_args come before the operator's defaults."""
    with DAG("dag", schedule=None, default_args={"ray_conn_id": "other"}) as dag:
        SubmitRayJobOperator.partial(task_id="train").expand(entrypoint=["a", "b"])
    have_dag(dag)
    add_forgotten(add_task, map_index=1)

    assert "find the connection 'other'" in html.unescape(show(map_index=1).text)


@pytest.mark.parametrize("how", ["expand", "expand_kwargs"])
def test_connection_that_differs_by_map_index_is_told_to_be_forgotten(
    how: str, add_task: AddTask, show: Show, have_dag: Callable[[DAG], None]
) -> None:
    """Which one an instance had is not in the DAG."""
    with DAG("dag", schedule=None) as dag:
        if how == "expand":
            partial = SubmitRayJobOperator.partial(task_id="train", entrypoint="true")
            partial.expand(ray_conn_id=["a", "b"])
        else:
            partial = SubmitRayJobOperator.partial(task_id="train")
            partial.expand_kwargs([{"entrypoint": "true", "ray_conn_id": "a"}])
    have_dag(dag)
    add_forgotten(add_task, map_index=1)

    assert "differs by map index" in show(map_index=1).text


def test_command_of_a_task_that_is_not_mapped_is_masked_where_it_was_a_template(
    cluster: StubDashboard, add_task: AddTask, show: Show, have_dag: Callable[[DAG], None]
) -> None:
    """Long after a run, its command shows what the DAG says and not what was filled in."""
    add_job(cluster, entrypoint="load --password s3cret-pa55 now", log=((0.0, b"s3cret-pa55\n"),))
    with DAG("dag", schedule=None) as dag:
        command = "load --password {{ conn.db.password }} now"
        SubmitRayJobOperator(task_id="train", entrypoint=command)
    have_dag(dag)
    add_forgotten(add_task)

    page = show().text

    assert '<pre class="entrypoint">load --password *** now</pre>' in page
    assert "s3cret" not in page


@pytest.mark.parametrize("index", ["9" * 30, "9" * 5000, "2147483648"])
def test_map_index_beyond_all_bounds(add_task: AddTask, show: Show, index: str) -> None:
    """An index that no database holds is that of no task instance."""
    add_task(fields=FIELDS)

    answer = show(map_index=index)

    assert (answer.status_code, "Airflow has no such task instance" in answer.text) == (200, True)
