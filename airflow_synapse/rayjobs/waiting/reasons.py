"""Says why a job waits, from what its cluster says. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from airflow_synapse.plurals import counted
from airflow_synapse.rayjobs.waiting.cluster_state import (
    Ask,
    Autoscaler,
    ClusterState,
    Node,
    printable,
)

_INSTALLED = ("pip", "uv", "conda", "image_uri", "container")
_ROUNDING = 1e-6
_GIB = 1024**3
_IN_BYTES = {"memory": "memory", "object_store_memory": "object store memory"}
_ORDER = {"CPU": 0, "GPU": 1, "memory": 2}


class Cause(Enum):
    """What a job waits for."""

    ENVIRONMENT = "environment"
    """Its runtime_env is being installed."""

    BUSY = "busy"
    """A node that could run it, but has no room at present."""

    AUTOSCALER = "autoscaler"
    """A node that the autoscaler may add."""

    IMPOSSIBLE = "impossible"
    """A node such as the cluster does not have."""


@dataclass(frozen=True)
class Reason:
    """Why a job waits.

    :param cause: What it waits for.
    :param text: The reason as a clause, of which the job is the subject.
    :param fact: What of the text is worth a new line in a log when it changes. Numbers that go up and down
        all the time are not.
    """

    cause: Cause
    text: str
    fact: str


def reason_of(ask: Ask, state: ClusterState) -> Reason | None:
    """Return why a job waits that asks for this, None if nothing shows it."""
    if ask.environment and ask.environment in state.installing:
        return _environment(ask.environment, state.installing[ask.environment])
    if not state.nodes or not (ask.resources or ask.labels):
        return None
    asked = dict(ask.resources)
    matching = [node for node in state.nodes if _matches(node.labels, ask.labels)]
    fitting = [node for node in matching if _fits(asked, node.total)]
    if fitting:
        return _busy(asked, fitting, is_exact=state.is_free_exact)
    lack = _lack(asked, matching, ask.labels)
    return _no_node_fits(asked, lack, state.autoscaler)


def likely_reason_of(ask: Ask, state: ClusterState) -> Reason | None:
    """Return why a job waited until now that asked for this, if nobody saw it wait.

    What is free now may not have been free then, and only an environment with packages takes long.
    """
    reason = reason_of(ask, state)
    if reason is not None or not ask.environment:
        return reason
    parsed = json.loads(ask.environment)
    if any(tool in parsed for tool in _INSTALLED):
        return _environment(ask.environment, "")
    if not ask.resources or not state.nodes:
        return None
    wanted = _list(
        _amount(name, dict(ask.resources)[name]) for name in _sorted(dict(ask.resources))
    )
    text = f"asks for {wanted}, which was not free"
    return Reason(Cause.BUSY, text, text)


def fits_no_node(ask: Ask, nodes: Iterable[Node]) -> bool:
    """Whether no node could run a job that asks for this, even if nothing else ran there."""
    asked = dict(ask.resources)
    return not any(_matches(node.labels, ask.labels) and _fits(asked, node.total) for node in nodes)


def _environment(environment: str, address: str) -> Reason:
    where = f" on node {address}" if address else ""
    what = _packages(environment)
    text = f"waits for its environment: {what}{where}"
    return Reason(Cause.ENVIRONMENT, text, text)


def _packages(environment: str) -> str:
    parsed = json.loads(environment)
    for tool in ("pip", "uv"):
        if tool in parsed:
            told = parsed[tool]
            packages = told.get("packages") if isinstance(told, dict) else told
            # Not their names: an address among them may have a password in it.
            if isinstance(packages, list) and packages:
                return f"{tool} installs {counted(len(packages), 'package')}"
            return f"{tool} installs its packages"
    if "conda" in parsed:
        return "conda installs it"
    if "image_uri" in parsed or "container" in parsed:
        return "its container image is being pulled"
    return "its files are being fetched"


def _busy(asked: Mapping[str, float], nodes: Sequence[Node], *, is_exact: bool) -> Reason | None:
    known = [(node, node.free) for node in nodes if node.free is not None]
    if not known or any(_fits(asked, free) for _, free in known):
        return None
    short = [
        name
        for name, amount in asked.items()
        if all(not _has(free, name, amount) for _, free in known)
    ]
    names = _sorted(short or asked)
    free = {name: sum(free.get(name, 0.0) for _, free in known) for name in names}
    total = {name: sum(node.total.get(name, 0.0) for node, _ in known) for name in names}
    about = "" if is_exact else "about "
    shares = [
        f"{about}{_share(name, free[name], total[name], is_named=len(names) > 1)}" for name in names
    ]
    apart = ""
    if all(free[name] + _ROUNDING >= asked[name] for name in names):
        apart = ", but not on one node"
    wanted = _list(_amount(name, asked[name]) for name in names)
    text = f"asks for {wanted}; {_list(shares)} are free{apart}"
    return Reason(Cause.BUSY, text, f"asks for {wanted}, and it is not free")


def _no_node_fits(asked: Mapping[str, float], lack: str, autoscaler: Autoscaler | None) -> Reason:
    if autoscaler is not None and autoscaler.starting:
        starting = ", ".join(autoscaler.starting[:3])
        text = f"{lack}. The autoscaler is starting nodes ({starting})"
        return Reason(Cause.AUTOSCALER, text, text)
    if autoscaler is None:
        return Reason(Cause.IMPOSSIBLE, lack, lack)
    if asked and any(_equal(asked, request) for request in autoscaler.unfulfillable):
        text = f"{lack}, and the autoscaler has no node type that has"
        return Reason(Cause.IMPOSSIBLE, text, text)
    text = f"{lack}. It waits for the autoscaler to add one"
    return Reason(Cause.AUTOSCALER, text, text)


def _lack(
    asked: Mapping[str, float], nodes: Sequence[Node], labels: Sequence[tuple[str, str]]
) -> str:
    """Return what none of the nodes has."""
    told = ", ".join(f"{printable(name)}={printable(value)}" for name, value in labels)
    if not asked:
        return f"asks for a node with {told}; there is none"
    names = _sorted(asked)
    on = f" on a node with {told}" if labels else ""
    wanted = _list(_amount(name, asked[name]) for name in names)
    if not nodes:
        return f"asks for {wanted}{on}; there is no such node"
    these = "no such node" if labels else "no node"
    for name in names:
        most = max(node.total.get(name, 0.0) for node in nodes)
        if most + _ROUNDING < asked[name]:
            has = f"has more than {_quantity(name, most)}" if most else "has any"
            return f"asks for {_amount(name, asked[name])}{on}; {these} {has}"
    return f"asks for {wanted}{on}; {these} has all of it"


def _fits(asked: Mapping[str, float], amounts: Mapping[str, float]) -> bool:
    return all(_has(amounts, name, amount) for name, amount in asked.items())


def _has(amounts: Mapping[str, float], name: str, amount: float) -> bool:
    return amounts.get(name, 0.0) + _ROUNDING >= amount


def _equal(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return one.keys() == other.keys() and all(
        abs(one[name] - other[name]) <= _ROUNDING for name in one
    )


def _matches(labels: Mapping[str, str], conditions: Iterable[tuple[str, str]]) -> bool:
    return all(_holds(condition)(labels.get(name)) for name, condition in conditions)


def _holds(condition: str) -> Callable[[str | None], bool]:
    """Return whether a label's value meets a condition: ``a``, ``!a``, ``in(a,b)`` or ``!in(a,b)``."""
    is_negated = condition.startswith("!")
    body = condition.removeprefix("!")
    values = {body}
    if body.startswith("in(") and body.endswith(")"):
        values = {value.strip() for value in body[3:-1].split(",")}
    return lambda value: (value in values) != is_negated


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (_ORDER.get(name, 3), name))


def _amount(name: str, amount: float) -> str:
    """Return an amount of a resource as people write it, e.g. ``4 CPU`` or ``16 GiB of memory``."""
    of = " of" if name in _IN_BYTES else ""
    return f"{_quantity(name, amount)}{of} {_IN_BYTES.get(name, printable(name))}"


def _quantity(name: str, amount: float) -> str:
    return f"{_figure(amount / _GIB)} GiB" if name in _IN_BYTES else _figure(amount)


def _share(name: str, free: float, total: float, *, is_named: bool) -> str:
    scale = _GIB if name in _IN_BYTES else 1
    named = _amount(name, total) if is_named else _quantity(name, total)
    return f"{_figure(free / scale)} of {named}"


def _figure(amount: float) -> str:
    return f"{amount:,.2f}".rstrip("0").rstrip(".")


def _list(texts: Iterable[str]) -> str:
    """Return texts as a list in a sentence."""
    *first, last = texts
    return f"{', '.join(first)} and {last}" if first else last
