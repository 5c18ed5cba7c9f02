"""Reads from Airflow's database which job and which connection a task instance has.

The connection is the one that a worker rendered or that the DAG names literally. It never comes from an
XCom, because people who may edit XComs must not choose what Airflow connects to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_synapse.handover.job_metadata import TaskInstanceRef
from airflow_synapse.handover.xcom_keys import JOB_ID_KEY
from airflow_synapse.hooks.cluster_ref import CLUSTER_FIELDS, ClusterRef
from airflow_synapse.views.masked_texts import MASK, without_values

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy.orm import Session

_JOB = "job_id"
_RESOURCES = ("num_cpus", "num_gpus", "memory", "custom_resources", "label_selector")
_TEXTS = ("entrypoint", "metadata")
"""Fields that are shown, except what Airflow masks in them."""

_TEMPLATE_MARKS = ("{{", "{%")


@dataclass(frozen=True)
class TaskRecord:
    """What Airflow knows about a task instance.

    :param state: Its state, None before it is scheduled.
    :param fields: Its template fields, as they were rendered or as the DAG has them.
    :param pushed_job_id: The submission ID among its XComs.
    """

    state: str | None
    fields: Mapping[str, Any] = field(default_factory=dict)
    pushed_job_id: str | None = None

    @property
    def is_of_ray(self) -> bool:
        """Whether the task is about one job, which it submits, waits for or stops."""
        return {CLUSTER_FIELDS[0], _JOB} <= self.fields.keys()  # older tasks have only the first

    @property
    def submits(self) -> bool:
        """Whether the task submits its job, rather than using one that something else submitted."""
        return "num_cpus" in self.fields

    @property
    def has_job_of_xcom(self) -> bool:
        """Whether the task did not submit its job and only an XCom, which people may edit, names the job."""
        return not self.submits and _text(self.fields.get(_JOB)) is None

    @property
    def cluster_ref(self) -> ClusterRef | None:
        """Where its cluster is, None if Airflow has forgotten that."""
        return ClusterRef.of_fields(self.fields)

    @property
    def job_id(self) -> str | None:
        """The submission ID of its job, None if there is no job yet."""
        if self.submits:
            return self.pushed_job_id
        return _text(self.fields.get(_JOB)) or self.pushed_job_id

    @property
    def resources(self) -> dict[str, Any]:
        """The resources that its job reserves."""
        return {name: self.fields[name] for name in _RESOURCES if self.fields.get(name)}


def read_task(task_ref: TaskInstanceRef) -> TaskRecord | None:
    """Return what Airflow knows about a task instance, None if there is none. Blocks."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        ti = session.scalar(_where(select(TaskInstance), TaskInstance, task_ref))
        if ti is None:
            return None
        return TaskRecord(
            state=ti.state,
            fields=_rendered_fields(task_ref, session) or _fields_of_dag(ti, session),
            pushed_job_id=_pushed_job_id(task_ref, session),
        )


def _where(query: Any, model: Any, task_ref: TaskInstanceRef) -> Any:
    return query.where(
        model.dag_id == task_ref.dag_id,
        model.run_id == task_ref.run_id,
        model.task_id == task_ref.task_id,
        model.map_index == task_ref.map_index,
    )


def _rendered_fields(task_ref: TaskInstanceRef, session: Session) -> dict[str, Any]:
    """Return the fields that a worker rendered. Airflow keeps only those of a task's last runs."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from sqlalchemy import select

    query = select(RenderedTaskInstanceFields.rendered_fields)
    return session.scalar(_where(query, RenderedTaskInstanceFields, task_ref)) or {}


def _fields_of_dag(ti: TaskInstance, session: Session) -> dict[str, Any]:
    """Return the fields as the DAG has them. Fields whose value is known only in a run are None."""
    from airflow.models.dagbag import DBDagBag

    dag = DBDagBag(load_op_links=False).get_dag_for_run(ti.dag_run, session=session)
    task = dag.task_dict.get(ti.task_id) if dag is not None else None
    if task is None:
        return {}
    is_mapped = hasattr(task, "partial_kwargs")
    values = _values_of_mapped(task, dag) if is_mapped else _values_of(task)
    fields = {name: _literal(values.get(name)) for name in task.template_fields}
    texts = {name: without_values(values.get(name)) for name in _TEXTS if name in fields}
    return fields | texts


def _values_of(task: Any) -> dict[str, Any]:
    return {name: getattr(task, name, None) for name in task.template_fields}


def _values_of_mapped(task: Any, dag: Any) -> dict[str, Any]:
    """Return the values that all instances of a mapped task share.

    If an argument was not given, only the operator knows its default, and the API server does not load
    operators. Values that differ between instances are None, and texts that differ are masked.
    """
    given = {**dag.default_args, **task.partial_kwargs}
    values = {**ClusterRef().arguments(), **given}
    if given.get("custom_resources") is None:
        values["custom_resources"] = given.get("resources")
    expanded = set(_names_expanded(task, values))
    texts = {name: MASK for name in _TEXTS if name in expanded}
    return values | dict.fromkeys(expanded) | texts


def _names_expanded(task: Any, values: Mapping[str, Any]) -> Iterable[str]:
    """Return the arguments that differ between instances. After ``expand_kwargs``, any may."""
    if task.expand_input is None:  # a function, whose op_kwargs are expanded instead
        return ()
    value = task.expand_input.value
    return value if isinstance(value, Mapping) else (*values, *_TEXTS)


def _literal(value: Any) -> Any:
    return None if any(mark in str(value) for mark in _TEMPLATE_MARKS) else value


def _pushed_job_id(task_ref: TaskInstanceRef, session: Session) -> str | None:
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    query = _where(select(XComModel), XComModel, task_ref).where(XComModel.key == JOB_ID_KEY)
    row = session.scalar(query)
    return None if row is None else _text(XComModel.deserialize_value(row))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
