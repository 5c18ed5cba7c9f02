"""Looks at a cluster on which jobs wait."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_synapse.exceptions import AirflowSynapseError
from airflow_synapse.rayjobs.client.jobs_api import JobsApi
from airflow_synapse.rayjobs.waiting.cluster_state import (
    SUPERVISOR,
    Ask,
    Autoscaler,
    ClusterState,
    Node,
    asks_of,
    autoscaler_of,
    free_of,
    installing_of,
    nodes_of,
    used_of,
)
from airflow_synapse.rayjobs.waiting.reasons import fits_no_node

_TIMEOUT = 2.0
"""Seconds that one question may take. What is not answered by then is unknown in this look."""

_MOST = 2 * 1024 * 1024
"""Bytes of an answer that are read. Parsing that much holds up the event loop for about 20 ms."""

_ACTORS = "/api/v0/actors"


async def look_at(
    api: JobsApi, before: ClusterState, *, also: Mapping[str, Ask] | None = None
) -> ClusterState:
    """Return what the cluster says about the jobs that wait there, as far as it answers.

    A cluster that refuses, or runs a Ray without one of these routes, only tells less.

    :param before: What the last look saw. What changes slowly and can't be read now is taken from there.
    :param also: What other jobs ask for, by submission ID.
    """
    waiting, environments, alive = await asyncio.gather(
        _rows(api, _ACTORS, state="PENDING_CREATION", class_name="JobSupervisor"),
        _rows(api, "/api/v0/runtime_envs", limit=200),  # those without an end come first
        _rows(api, "/api/v0/nodes", state="ALIVE"),
    )
    # In a thread, because a thousand jobs take 0.1 s.
    state = await asyncio.to_thread(_state_of, waiting, environments, alive, before)
    state = replace(state, asks={**state.asks, **(also or {})})
    nodes = state.nodes or ()
    rooms = {ask.room for ask in state.asks.values()} - {Ask()}
    if not rooms:
        return state
    free, is_exact = await _with_what_is_free(api, nodes)
    state = replace(state, nodes=free, is_free_exact=is_exact)
    if any(fits_no_node(room, nodes) for room in rooms):
        return replace(state, autoscaler=await _autoscaler(api, before.autoscaler))
    return state


async def find_ask(api: JobsApi, job_id: str) -> Ask | None:
    """Return what a job asked for that no longer waits, None if the cluster does not tell."""
    return asks_of(await _rows(api, _ACTORS, name=f"{SUPERVISOR}{job_id}")).get(job_id)


def _state_of(waiting: Any, environments: Any, alive: Any, before: ClusterState) -> ClusterState:
    nodes = nodes_of(alive) or list(before.nodes or ())
    return ClusterState(asks_of(waiting), nodes, installing_of(environments, nodes))


async def _with_what_is_free(api: JobsApi, nodes: Sequence[Node]) -> tuple[Sequence[Node], bool]:
    """Return the nodes with what is free on each, and whether that was told rather than reckoned."""
    free = free_of(await _ask(api, "/nodes", view="summary"))
    if free:
        return [replace(node, free=free.get(node.node_id)) for node in nodes], True
    try:
        used = used_of(await _rows(api, _ACTORS, state="ALIVE"))
    except ValueError:
        return nodes, False
    return [node.less(used.get(node.node_id, {})) for node in nodes], False


async def _autoscaler(api: JobsApi, before: Autoscaler | None) -> Autoscaler | None:
    status, events = await asyncio.gather(
        _ask(api, "/api/cluster_status", format="1"),
        _ask(api, "/api/v0/cluster_events"),
    )
    return before if status is None else autoscaler_of(status, events)


async def _rows(api: JobsApi, path: str, *, limit: int = 10_000, **filters: str) -> Any:
    """Return the answer of Ray's state API to a question for all details of some rows."""
    query = [("detail", "1"), ("limit", str(limit)), ("timeout", "2")]
    for key, value in filters.items():
        query += [("filter_keys", key), ("filter_predicates", "="), ("filter_values", value)]
    return await _answer(api, path, query)


async def _ask(api: JobsApi, path: str, **query: str) -> Any:
    return await _answer(api, path, list(query.items()))


async def _answer(api: JobsApi, path: str, query: Sequence[tuple[str, str]]) -> Any:
    try:
        return await api.get_state(path, query, timeout=_TIMEOUT, most=_MOST)
    except AirflowSynapseError:
        return None
