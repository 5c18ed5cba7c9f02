"""Airflow's answers about tasks, and jobs that were submitted for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from airflow_synapse.collecting.orphans import States
from airflow_synapse.collecting.questions import Question
from airflow_synapse.handover.job_metadata import DEPLOYMENT_KEY, TaskInstanceRef, wait_metadata
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER, StubJob

HERE = "prod"


def a_task(name: str, map_index: int = -1) -> TaskInstanceRef:
    return TaskInstanceRef("dag", "run", name, map_index)


def add_job(stub: StubDashboard, job_id: str, task: TaskInstanceRef, **script: Any) -> StubJob:
    """Have a job on a cluster that was submitted for a task of this Airflow."""
    job = stub.add_job(job_id, **{"runtime": NEVER, **script})
    job.request["metadata"] = {
        **task.metadata(),
        **wait_metadata(waits=True, stop_on_kill=True),
        DEPLOYMENT_KEY: HERE,
    }
    return job


def answer(question: Any, states: States) -> dict[str, dict[str, Any]]:
    """Return what Airflow's API answers to a question (``get_task_instance_states``)."""
    told: dict[str, dict[str, Any]] = {}
    for task, state in states.items():
        is_asked = task.task_id in question.task_ids and task.run_id in question.run_ids
        if is_asked and task.dag_id == question.dag_id:
            name = task.task_id if task.map_index < 0 else f"{task.task_id}_{task.map_index}"
            told.setdefault(task.run_id, {})[name] = state
    return told


class Airflow:
    """Answers questions about the tasks that it has.

    :ivar states: Their states. A task that is missing was deleted.
    :ivar error: What is raised instead of an answer.
    """

    def __init__(self) -> None:
        self.states: dict[TaskInstanceRef, str | None] = {}
        self.error: Exception | None = None
        self.asked: list[Question] = []

    async def ask(self, question: Question) -> States:
        return self.ask_at_once(question)

    def ask_at_once(self, question: Question) -> States:
        self.asked.append(question)
        if self.error is not None:
            raise self.error
        return question.read(answer(question, self.states))


async def until(question: Callable[[], Any]) -> None:
    """Wait until something is true."""
    while not question():
        await asyncio.sleep(0.005)
