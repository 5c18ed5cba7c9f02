"""What a cluster answers is read as far as it makes sense."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_synapse.rayjobs.waiting.cluster_state import (
    Autoscaler,
    asks_of,
    autoscaler_of,
    free_of,
    installing_of,
    nodes_of,
    used_of,
)

GIB = 1024.0**3
STATUS = """======== Autoscaler status: 2026-01-02 03:04:05.000000 ========
Node status
---------------------------------------------------------------
Active:
 1 {type}
Pending:
{pending}
Recent failures:
 (no failures)
"""


def told(**data: Any) -> dict[str, Any]:
    return {"result": True, "msg": "", "data": data}


def rows(*rows: Any, **fields: Any) -> dict[str, Any]:
    return told(result={"result": list(rows), "num_filtered": len(rows), **fields})


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "text",
        {"data": None},
        told(result=None),
        told(result={"result": "x"}),
        told(nodeLogicalResources=["x"]),
        rows(None, 1, "x"),
        rows(
            {"name": 5, "state": "ALIVE", "resources_total": "x", "labels": 1, "message": []},
            {"name": "_ray_internal_job_actor_j", "required_resources": {"CPU": float("nan")}},
            {"name": "_ray_internal_job_actor_k", "serialized_runtime_env": "[" * 100_000},
        ),
    ],
    ids=lambda answer: repr(answer)[:20],
)
def test_answers_that_make_no_sense_tell_nothing(answer: Any) -> None:
    """Whatever a server answers, reading it raises nothing and makes no numbers up."""
    assert all(not ask.resources for ask in asks_of(answer).values())
    assert all(not node.total for node in nodes_of(answer))
    assert set(installing_of(answer, [])) <= {""}
    assert free_of(answer) == {}
    assert autoscaler_of(answer, answer) is None


def test_free_resources_are_read_from_text() -> None:
    """The summary of nodes tells usage as ``used/total name``, memory with its unit."""
    text = "1.0/4.0 CPU\n0.0/1.0 a custom one\n512.00MiB/8.00GiB memory\nno usage"

    free = free_of(told(nodeLogicalResources={"n": text}))

    assert free == {"n": {"CPU": 3.0, "a custom one": 1.0, "memory": 7.5 * GIB}}


def test_use_is_not_reckoned_from_a_part_of_the_actors() -> None:
    """A list that was cut can't tell what is free."""
    actor = {"node_id": "n", "required_resources": {"CPU": 1.0}}

    assert used_of(rows(actor, actor)) == {"n": {"CPU": 2.0}}
    with pytest.raises(ValueError, match="was cut"):
        used_of(rows(actor, num_filtered=7))


@pytest.mark.parametrize(
    ("node_type", "pending", "autoscaler"),
    [
        (f"node_{'0f' * 28}", " (no pending nodes)", None),
        ("head_group", " (no pending nodes)", Autoscaler()),
        (
            "head_group",
            " gpu, 2 launching\n 192.0.2.7: gpu, setting-up",
            Autoscaler(("gpu, 2 launching", "192.0.2.7: gpu, setting-up")),
        ),
    ],
)
def test_autoscaler_is_known_by_its_node_types(
    node_type: str, pending: str, autoscaler: Autoscaler | None
) -> None:
    """A cluster that does not scale runs the same process, which calls each node a type of its own."""
    status = told(clusterStatus=STATUS.format(type=node_type, pending=pending))

    assert autoscaler_of(status, rows()) == autoscaler


@pytest.mark.parametrize(
    "message",
    [
        "Error: No available node types can fulfill resource request {'GPU': 4.0}. Add suitable node types",
        "No available node types can fulfill resource requests {'CPU': 1.0}*2, {'GPU': 4.0}*1. Add suitable",
    ],
)
def test_requests_that_no_node_type_can_fulfill_are_read_from_events(message: str) -> None:
    """Both autoscalers of Ray say which request they can't fulfill, each in its words."""
    status = told(clusterStatus=STATUS.format(type="head_group", pending=" (no pending nodes)"))

    autoscaler = autoscaler_of(status, rows({"message": message}, {"message": "Started a ray job"}))

    assert autoscaler is not None
    assert {"GPU": 4.0} in autoscaler.unfulfillable
