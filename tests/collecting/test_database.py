"""What Airflow's database says about tasks."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow import settings
from sqlalchemy import create_engine, insert
from sqlalchemy.orm import scoped_session, sessionmaker

from airflow_synapse.collecting.database import ask_database
from airflow_synapse.collecting.orphans import GONE
from airflow_synapse.collecting.questions import questions_about
from airflow_synapse.handover.job_metadata import TaskInstanceRef


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The table of task instances, in a database of its own."""
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from airflow.models.taskinstance import TaskInstance

    import_all_models()
    engine = create_engine(f"sqlite:///{tmp_path / 'airflow.db'}")
    Base.metadata.create_all(engine)
    sessions = scoped_session(sessionmaker(bind=engine, expire_on_commit=False))
    monkeypatch.setattr(settings, "Session", sessions)
    yield TaskInstance.__table__, engine
    sessions.remove()
    engine.dispose()


def test_states_are_those_of_the_table(table: Any) -> None:
    """Also of a task without a state; one that is not there is gone."""
    tasks: dict[TaskInstanceRef, str | None] = {
        TaskInstanceRef("dag", "r1", "train"): "failed",
        TaskInstanceRef("dag", "r1", "mapped", 0): None,
        TaskInstanceRef("dag", "r1", "mapped", 1): "removed",
        TaskInstanceRef("dag", "r1", "mapped_1"): "running",
    }
    task_instances, engine = table
    with engine.begin() as connection:
        for task, state in tasks.items():
            row = {
                # A string before Airflow 3.2.
                "id": task_instances.c.id.type.python_type(str(uuid.uuid4())),
                "dag_id": task.dag_id,
                "run_id": task.run_id,
                "task_id": task.task_id,
                "map_index": task.map_index,
                "state": state,
                "pool": "default_pool",
                "pool_slots": 1,
            }
            connection.execute(insert(task_instances).values(row))
    gone = [TaskInstanceRef("dag", "r2", "train"), TaskInstanceRef("dag", "r1", "mapped", 2)]

    found = [ask_database(question) for question in questions_about([*tasks, *gone])]

    assert {task: state for states in found for task, state in states.items()} == {
        **tasks,
        **dict.fromkeys(gone, GONE),
    }
