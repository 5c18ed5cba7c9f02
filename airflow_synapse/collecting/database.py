"""Asks Airflow's database for the states of tasks, for the command line."""

from __future__ import annotations

from airflow_synapse.collecting.orphans import GONE, States
from airflow_synapse.collecting.questions import Question
from airflow_synapse.handover.job_metadata import TaskInstanceRef


def ask_database(question: Question) -> States:
    """Return the states that the question asks for. Blocks.

    :raises SQLAlchemyError: if the database can't be read.
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    columns = (TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index)
    query = select(*columns, TaskInstance.state).where(
        TaskInstance.dag_id == question.dag_id,
        TaskInstance.task_id.in_(question.task_ids),
        TaskInstance.run_id.in_(question.run_ids),
    )
    with create_session() as session:
        rows = session.execute(query).all()
    found = {
        TaskInstanceRef(question.dag_id, run_id, task_id, map_index): state
        for run_id, task_id, map_index, state in rows
    }
    return {task: _state(found.get(task, GONE)) for task in question.tasks}


def _state(state: str | None) -> str | None:
    return None if state is None else str(state)
