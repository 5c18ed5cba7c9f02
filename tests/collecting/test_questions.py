"""What Airflow is asked, and how its answers are read."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_synapse.collecting.orphans import GONE
from airflow_synapse.collecting.questions import questions_about
from airflow_synapse.handover.job_metadata import TaskInstanceRef
from tests.collecting.airflow_states import answer


def answers(
    tasks: Iterable[TaskInstanceRef], states: dict[TaskInstanceRef, str | None]
) -> dict[TaskInstanceRef, str | None]:
    """What is understood of Airflow's answers about tasks, if these are all it has."""
    return {
        task: state
        for question in questions_about(tasks)
        for task, state in question.read(answer(question, states)).items()
    }


def test_one_message_per_dag() -> None:
    """All runs, tasks and map indexes of a DAG are in one message."""
    tasks = [
        TaskInstanceRef(dag, run, task, index)
        for dag in ("one", "two")
        for run in ("r1", "r2")
        for task in ("prepare", "train")
        for index in (-1, 0, 1)
    ]

    questions = questions_about(tasks)

    assert [question.dag_id for question in questions] == ["one", "two"]
    assert questions[0].task_ids == ("prepare", "train")
    assert questions[0].run_ids == ("r1", "r2")


def test_nothing_is_asked_about_nothing() -> None:
    """Without jobs Airflow is left alone."""
    assert questions_about([]) == []


def test_state_of_each_task_is_its_own() -> None:
    """None is a state, too: of a task that was cleared or has not been scheduled."""
    states: dict[TaskInstanceRef, str | None] = {
        TaskInstanceRef("dag", "r1", "train"): None,
        TaskInstanceRef("dag", "r2", "train"): "failed",
        TaskInstanceRef("dag", "r1", "mapped", 0): "running",
        TaskInstanceRef("dag", "r1", "mapped", 1): "removed",
    }

    assert answers(states, states) == states


def test_what_airflow_does_not_have_is_gone() -> None:
    """A deleted run, a task that a DAG has lost, and a map index that there is no longer."""
    here: dict[TaskInstanceRef, str | None] = {TaskInstanceRef("dag", "r1", "train"): "running"}
    gone = [
        TaskInstanceRef("dag", "r2", "train"),
        TaskInstanceRef("dag", "r1", "lost"),
        TaskInstanceRef("dag", "r1", "train", 2),
        TaskInstanceRef("other", "r1", "train"),
    ]

    assert answers([*here, *gone], here) == {**here, **dict.fromkeys(gone, GONE)}


def test_mapped_task_is_not_mistaken_for_one_with_a_number_in_its_name() -> None:
    """``train_1`` may be an instance of ``train`` or a task of its own: they are asked for apart."""
    states: dict[TaskInstanceRef, str | None] = {
        TaskInstanceRef("dag", "run", "train", 1): "running",
        TaskInstanceRef("dag", "run", "train_1"): "failed",
        TaskInstanceRef("dag", "run", "train_1", 2): "deferred",
        TaskInstanceRef("dag", "run", "train_1_2"): "success",
    }

    assert answers(states, states) == states


def test_messages_are_short_enough_for_a_url() -> None:
    """Many runs at once are asked for in several messages, each task once."""
    tasks = {
        TaskInstanceRef("dag", f"scheduled__2026-01-01T00:00:{number:02}.{number}+00:00", "train")
        for number in range(60)
    } | {
        TaskInstanceRef("dag", "한국어" * 80, "학습" * 120),
        TaskInstanceRef("dag", "r", "t" * 5000),
    }
    states: dict[TaskInstanceRef, str | None] = dict.fromkeys(tasks, "running")

    questions = questions_about(tasks)

    assert 2 < len(questions) < 8
    assert answers(tasks, states) == states
    assert sum(len(question.tasks) for question in questions) == len(tasks)


def test_thousands_of_map_indexes_are_one_message() -> None:
    """A message names tasks and runs, not instances."""
    tasks = [TaskInstanceRef("dag", "run", "train", index) for index in range(5000)]

    (question,) = questions_about(tasks)

    assert len(question.tasks) == 5000
