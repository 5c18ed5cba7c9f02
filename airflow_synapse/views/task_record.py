"""Reads from Airflow's database which job and which connection a task instance has.

The connection is the one that a worker rendered, or the DAG says literally, and no XCom: people may
edit XComs who may not choose what Airflow connects to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_synapse.hooks.job_metadata import task_metadata
from airflow_synapse.hooks.xcom_keys import JOB_ID_KEY

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy.orm import Session

_CONNECTION = "ray_conn_id"
_JOB = "job_id"
_RESOURCES = ("num_cpus", "num_gpus", "memory", "custom_resources", "label_selector")
_TEMPLATE_MARKS = ("{{", "{%")


@dataclass(frozen=True)
class TaskPlace:
    """Which task instance.

    :param map_index: -1 for a task that is not mapped.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    def metadata(self) -> dict[str, str]:
        """Return what a job carries that was submitted for it."""
        return task_metadata(self.dag_id, self.run_id, self.task_id, self.map_index)


@dataclass(frozen=True)
class TaskRecord:
    """What Airflow knows about a task instance.

    :param state: Its state, None before it is scheduled.
    :param fields: Its template fields, as they were rendered or as the DAG has them.
    :param pushed_job_id: The job id among its XComs.
    """

    state: str | None
    fields: Mapping[str, Any] = field(default_factory=dict)
    pushed_job_id: str | None = None

    @property
    def is_of_ray(self) -> bool:
        """Whether it is a task of this provider."""
        return _CONNECTION in self.fields

    @property
    def submits(self) -> bool:
        """Whether it has a job of its own, and not one that something else submitted."""
        return "num_cpus" in self.fields

    @property
    def ray_conn_id(self) -> str | None:
        """The connection of its cluster, None if Airflow has forgotten it."""
        return _text(self.fields.get(_CONNECTION))

    @property
    def job_id(self) -> str | None:
        """The job it is about, None if there is none yet."""
        if self.submits:
            return self.pushed_job_id
        return _text(self.fields.get(_JOB)) or self.pushed_job_id

    @property
    def resources(self) -> dict[str, Any]:
        """The resources that its job asks for."""
        return {name: self.fields[name] for name in _RESOURCES if self.fields.get(name)}


def read_task(place: TaskPlace) -> TaskRecord | None:
    """Return what Airflow knows about a task instance, None if there is none. Blocks."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        ti = session.scalar(_where(select(TaskInstance), TaskInstance, place))
        if ti is None:
            return None
        return TaskRecord(
            state=ti.state,
            fields=_rendered_fields(place, session) or _fields_of_dag(ti, session),
            pushed_job_id=_pushed_job_id(place, session),
        )


def _where(query: Any, model: Any, place: TaskPlace) -> Any:
    return query.where(
        model.dag_id == place.dag_id,
        model.run_id == place.run_id,
        model.task_id == place.task_id,
        model.map_index == place.map_index,
    )


def _rendered_fields(place: TaskPlace, session: Session) -> dict[str, Any]:
    """Return the fields that a worker rendered. Airflow keeps those of a task's last runs only."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from sqlalchemy import select

    query = select(RenderedTaskInstanceFields.rendered_fields)
    return session.scalar(_where(query, RenderedTaskInstanceFields, place)) or {}


def _fields_of_dag(ti: TaskInstance, session: Session) -> dict[str, Any]:
    """Return the fields as the DAG has them; None for those whose value is only known in a run."""
    from airflow.models.dagbag import DBDagBag

    dag = DBDagBag(load_op_links=False).get_dag_for_run(ti.dag_run, session=session)
    task = dag.task_dict.get(ti.task_id) if dag is not None else None
    if task is None:
        return {}
    values = getattr(task, "partial_kwargs", None)
    if values is None:
        values = {name: getattr(task, name, None) for name in task.template_fields}
    return {name: _literal(values.get(name)) for name in task.template_fields}


def _literal(value: Any) -> Any:
    return None if any(mark in str(value) for mark in _TEMPLATE_MARKS) else value


def _pushed_job_id(place: TaskPlace, session: Session) -> str | None:
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    query = _where(select(XComModel), XComModel, place).where(XComModel.key == JOB_ID_KEY)
    row = session.scalar(query)
    return None if row is None else _text(XComModel.deserialize_value(row))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
