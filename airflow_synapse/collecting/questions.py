"""Puts questions about many tasks into few messages to Airflow, and reads the answers. Pure.

Airflow answers a message with the states of all matching tasks, under names in which a mapped task can't
be told from a task whose name ends in a number: ``train_1`` may be the second instance of ``train``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from airflow_synapse.collecting.orphans import GONE
from airflow_synapse.handover.job_metadata import TaskInstanceRef

_LONGEST = 4_000
"""The most characters of names in one message. A worker's supervisor sends them in a URL, and proxies accept
8,000. So a DAG needs more than one message only if about 70 of its runs have jobs at the same time."""

_INDEX = re.compile(r"_\d+$")


@dataclass(frozen=True)
class Question:
    """What to ask Airflow in one message about tasks of one DAG.

    :param dag_id: The DAG.
    :param task_ids: The names of its tasks.
    :param run_ids: Its runs.
    :param tasks: The task instances that it is about. The answer has some more.
    """

    dag_id: str
    task_ids: tuple[str, ...]
    run_ids: tuple[str, ...]
    tasks: tuple[TaskInstanceRef, ...]

    def read(self, states: Mapping[str, Mapping[str, Any]]) -> dict[TaskInstanceRef, str | None]:
        """Return the states of the task instances from Airflow's answer.

        :param states: States by run ID, and by task ID with the map index.
        """
        return {task: _state(states.get(task.run_id, {}), task) for task in self.tasks}


def questions_about(tasks: Iterable[TaskInstanceRef]) -> list[Question]:
    """Return the questions that are enough to learn the states of all these tasks."""
    groups: dict[tuple[str, int], dict[TaskInstanceRef, None]] = defaultdict(dict)
    for task in tasks:
        groups[task.dag_id, _indexes_in_name(task)][task] = None
    return [question for group in groups.values() for question in _split(list(group))]


def _indexes_in_name(task: TaskInstanceRef) -> int:
    """Return how many numbers end the task's name. Tasks with as many can't be mistaken for each other."""
    name, count = task.task_id, 0
    while (shorter := _INDEX.sub("", name)) != name:
        name, count = shorter, count + 1
    return count


def _split(tasks: list[TaskInstanceRef]) -> Iterator[Question]:
    """Yield questions about tasks of one DAG, each short enough for a URL."""
    part: list[TaskInstanceRef] = []
    names: set[str] = set()
    for task in sorted(tasks, key=lambda task: (task.run_id, task.task_id)):
        own = {f"run_ids={quote(task.run_id)}", f"task_ids={quote(task.task_id)}"}
        if not own <= names and part and _length(names | own) > _LONGEST:
            yield _question(part)
            part, names = [], set()
        part.append(task)
        names |= own
    yield _question(part)


def _length(names: Iterable[str]) -> int:
    return sum(len(name) + 1 for name in names)


def _question(tasks: list[TaskInstanceRef]) -> Question:
    return Question(
        dag_id=tasks[0].dag_id,
        task_ids=tuple(sorted({task.task_id for task in tasks})),
        run_ids=tuple(sorted({task.run_id for task in tasks})),
        tasks=tuple(tasks),
    )


def _state(states: Mapping[str, Any], task: TaskInstanceRef) -> str | None:
    name = task.task_id if task.map_index < 0 else f"{task.task_id}_{task.map_index}"
    if name not in states:
        return GONE
    return None if states[name] is None else str(states[name])
