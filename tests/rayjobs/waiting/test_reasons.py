"""A job that waits is explained by what it asks for and what its cluster has."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_synapse.rayjobs.waiting.cluster_state import (
    Ask,
    Autoscaler,
    ClusterState,
    Node,
    canonical_environment,
)
from airflow_synapse.rayjobs.waiting.reasons import Cause, Reason, reason_of

GIB = 1024.0**3


def ask(labels: dict[str, str] | None = None, **resources: float) -> Ask:
    return Ask(tuple(resources.items()), tuple((labels or {}).items()))


def node(
    total: dict[str, float],
    free: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
) -> Node:
    return Node("n", "192.0.2.1", total, labels or {}, free)


def why(asked: Ask, *nodes: Node, **state: Any) -> Reason | None:
    return reason_of(asked, ClusterState({}, nodes, **state))


@pytest.mark.parametrize(
    ("asked", "nodes", "text"),
    [
        (ask(CPU=4), [node({"CPU": 16}, {"CPU": 1})], "asks for 4 CPU; 1 of 16 are free"),
        (ask(CPU=0.5), [node({"CPU": 1}, {"CPU": 0})], "asks for 0.5 CPU; 0 of 1 are free"),
        (
            ask(CPU=4, GPU=2),
            [node({"CPU": 8, "GPU": 2}, {"CPU": 6, "GPU": 0})],
            "asks for 2 GPU; 0 of 2 are free",
        ),
        (
            ask(CPU=4, GPU=2),
            [node({"CPU": 8, "GPU": 2}, {"CPU": 1, "GPU": 0})],
            "asks for 4 CPU and 2 GPU; 1 of 8 CPU and 0 of 2 GPU are free",
        ),
        (
            ask(CPU=4),
            [node({"CPU": 8}, {"CPU": 3}), node({"CPU": 8}, {"CPU": 2})],
            "asks for 4 CPU; 5 of 16 are free, but not on one node",
        ),
        (
            ask(memory=4 * GIB),
            [node({"memory": 20.97 * GIB}, {"memory": 1.5 * GIB})],
            "asks for 4 GiB of memory; 1.5 of 20.97 GiB are free",
        ),
        (
            ask(license=1),
            [node({"license": 1}, {"license": 0})],
            "asks for 1 license; 0 of 1 are free",
        ),
    ],
)
def test_busy_cluster_is_told_with_what_is_free(asked: Ask, nodes: list[Node], text: str) -> None:
    """Only what is short is told, in the units of people."""
    reason = why(asked, *nodes)

    assert reason is not None
    assert (reason.cause, reason.text) == (Cause.BUSY, text)


@pytest.mark.parametrize(
    ("asked", "nodes", "text"),
    [
        (
            ask(GPU=4),
            [node({"GPU": 2, "CPU": 8}), node({"GPU": 1})],
            "asks for 4 GPU; no node has more than 2",
        ),
        (ask(GPU=1), [node({"CPU": 8})], "asks for 1 GPU; no node has any"),
        (
            ask(CPU=4, GPU=1),
            [node({"CPU": 8}), node({"CPU": 2, "GPU": 1})],
            "asks for 4 CPU and 1 GPU; no node has all of it",
        ),
        (
            ask(memory=64 * GIB),
            [node({"memory": 16 * GIB})],
            "asks for 64 GiB of memory; no node has more than 16 GiB",
        ),
        (
            ask({"market": "spot"}),
            [node({"CPU": 8}, labels={"market": "fixed"})],
            "asks for a node with market=spot; there is none",
        ),
        (
            ask({"market": "spot"}, GPU=1),
            [node({"CPU": 8, "GPU": 1})],
            "asks for 1 GPU on a node with market=spot; there is no such node",
        ),
        (
            ask({"market": "spot"}, GPU=1),
            [node({"GPU": 1}), node({"CPU": 8}, labels={"market": "spot"})],
            "asks for 1 GPU on a node with market=spot; no such node has any",
        ),
    ],
)
def test_job_that_no_node_can_take_is_told_so(asked: Ask, nodes: list[Node], text: str) -> None:
    """What is asked for is compared with the largest node that has the labels."""
    reason = why(asked, *nodes)

    assert reason is not None
    assert (reason.cause, reason.text) == (Cause.IMPOSSIBLE, text)


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        ("spot", "spot", True),
        ("spot", "fixed", False),
        ("spot", None, False),
        ("!spot", "fixed", True),
        ("!spot", None, True),
        ("!spot", "spot", False),
        ("in(spot, fixed)", "fixed", True),
        ("in(spot,fixed)", "other", False),
        ("!in(spot,fixed)", "other", True),
        ("!in(spot,fixed)", "spot", False),
    ],
)
def test_conditions_on_labels_are_ray_s(condition: str, value: str | None, holds: bool) -> None:
    """A node has the labels that Ray's own syntax asks for, or has not."""
    labels = {} if value is None else {"market": value}

    reason = why(ask({"market": condition}), node({"CPU": 1}, labels=labels))

    assert (reason is None) is holds


def test_reckoned_room_is_told_as_about() -> None:
    """Where nobody says what is free, it is reckoned from actors, and tasks are not among them."""
    reason = why(ask(CPU=2), node({"CPU": 2}, {"CPU": 0.5}), is_free_exact=False)

    assert reason is not None
    assert reason.text == "asks for 2 CPU; about 0.5 of 2 are free"


@pytest.mark.parametrize(
    ("autoscaler", "cause", "end"),
    [
        (
            Autoscaler(starting=("gpu-large, 1 launching",)),
            Cause.AUTOSCALER,
            ". The autoscaler is starting nodes (gpu-large, 1 launching)",
        ),
        (Autoscaler(), Cause.AUTOSCALER, ". It waits for the autoscaler to add one"),
        (
            Autoscaler(unfulfillable=({"GPU": 4.0},)),
            Cause.IMPOSSIBLE,
            ", and the autoscaler has no node type that has",
        ),
        (
            Autoscaler(unfulfillable=({"GPU": 8.0},)),
            Cause.AUTOSCALER,
            ". It waits for the autoscaler to add one",
        ),
    ],
)
def test_autoscaler_may_add_what_no_node_has(
    autoscaler: Autoscaler, cause: Cause, end: str
) -> None:
    """Only an autoscaler that says so makes a job impossible."""
    reason = why(ask(GPU=4), node({"GPU": 2}), autoscaler=autoscaler)

    assert reason == Reason(cause, f"asks for 4 GPU; no node has more than 2{end}", reason.fact)


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({"pip": {"packages": ["a", "b"]}}, "pip installs 2 packages"),
        ({"pip": ["https://user:secret@host/a.whl"]}, "pip installs 1 package"),
        ({"uv": {"packages": ["a"]}}, "uv installs 1 package"),
        ({"conda": "env"}, "conda installs it"),
        ({"image_uri": "x"}, "its container image is being pulled"),
        ({"working_dir": "gcs://x.zip"}, "its files are being fetched"),
    ],
)
def test_environment_that_is_being_installed_is_told_first(
    environment: dict[str, Any], what: str
) -> None:
    """A job whose environment is being installed has its room already; packages are counted, not named."""
    text = canonical_environment(environment)
    asked = Ask((("CPU", 2.0),), environment=text)

    reason = why(asked, node({"CPU": 2}, {"CPU": 0}), installing={text: "192.0.2.1"})

    assert reason is not None
    assert reason.cause is Cause.ENVIRONMENT
    assert reason.text == f"waits for its environment: {what} on node 192.0.2.1"


@pytest.mark.parametrize(
    ("asked", "nodes"),
    [
        (ask(), [node({"CPU": 0})]),
        (ask(CPU=1), []),
        (ask(CPU=1), [node({"CPU": 2})]),
        (ask(CPU=1), [node({"CPU": 2}, {"CPU": 2})]),
    ],
    ids=["asks for nothing", "no nodes known", "nobody knows what is free", "there is room"],
)
def test_no_reason_is_made_up(asked: Ask, nodes: list[Node]) -> None:
    """Where nothing shows why a job waits, nothing is told."""
    assert why(asked, *nodes) is None


def test_what_is_free_may_change_without_being_a_new_fact() -> None:
    """A cluster on which room comes and goes has one fact for the log."""
    first, second = (why(ask(CPU=4), node({"CPU": 16}, {"CPU": free})) for free in (1.0, 2.0))

    assert first is not None
    assert second is not None
    assert first.text != second.text
    assert first.fact == second.fact


def test_names_that_a_cluster_chose_are_harmless() -> None:
    """Control sequences in the name of a resource or of a label reach no terminal."""
    reason = why(Ask((("li\x1b[31mc\n", 2.0),), ((("\x07m", "v"),))), node({"CPU": 1}))

    assert reason is not None
    assert reason.text.isprintable()
