"""What a cluster says about its nodes and about the jobs that wait there, as values. Pure.

Ray's state API is read as it was seen on 2.60. A cluster may run another version, or answer nonsense: what
can't be read is left out.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Amounts = Mapping[str, float]

SUPERVISOR = "_ray_internal_job_actor_"
"""The name of the actor that starts a job, before the job's submission ID (``JOB_ACTOR_NAME_TEMPLATE``)."""

_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
_USAGE = re.compile(r"\s*([\d.]+)([KMGT]?i?B)?/([\d.]+)([KMGT]?i?B)? (.+)")
_PENDING_NODES = re.compile(r"^Pending:\n((?: .*\n?)*)", re.MULTILINE)
_NODE_TYPES = re.compile(r"^ \d+ (\S+)$", re.MULTILINE)
_NODE_WITHOUT_TYPE = re.compile(r"node_[0-9a-f]{40,}")
"""What a cluster that does not scale calls the type of each node (``format_readonly_node_type``)."""

_UNFULFILLABLE = "No available node types can fulfill"
_REQUEST = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True)
class Ask:
    """What a job that waits needs before it can start.

    :param resources: How much of each resource it reserves, by Ray's name of it.
    :param labels: The conditions on a node's labels, in Ray's syntax.
    :param environment: Its runtime_env as canonical JSON.
    """

    resources: tuple[tuple[str, float], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    environment: str = field(default="", repr=False)

    @property
    def room(self) -> Ask:
        """The same without the environment, which is another one for almost every job."""
        return Ask(self.resources, self.labels)


@dataclass(frozen=True)
class Node:
    """A node that is alive.

    :param node_id: Ray's ID of it.
    :param address: Its address, for people.
    :param total: What it has.
    :param labels: Its labels.
    :param free: What of it is free, None if nobody knows.
    """

    node_id: str
    address: str
    total: Amounts
    labels: Mapping[str, str]
    free: Amounts | None = None

    def less(self, used: Amounts) -> Node:
        """Return the node with what is free if so much of it is used."""
        free = {name: max(0.0, amount - used.get(name, 0.0)) for name, amount in self.total.items()}
        return replace(self, free=free)


@dataclass(frozen=True)
class Autoscaler:
    """What adds nodes to the cluster.

    :param starting: The nodes that it is starting, as it describes them.
    :param unfulfillable: The requests that none of its node types can fulfill.
    """

    starting: tuple[str, ...] = ()
    unfulfillable: tuple[Amounts, ...] = ()


@dataclass(frozen=True)
class ClusterState:
    """What was seen of a cluster in one look.

    :param asks: The jobs that wait there, by submission ID.
    :param nodes: Its nodes that are alive, None if they could not be read.
    :param installing: The address of a node for each environment that is being installed.
    :param autoscaler: None if no autoscaler is known.
    :param is_free_exact: Whether what is free was told, and not reckoned.
    """

    asks: Mapping[str, Ask] = field(default_factory=dict)
    nodes: Sequence[Node] | None = None
    installing: Mapping[str, str] = field(default_factory=dict)
    autoscaler: Autoscaler | None = None
    is_free_exact: bool = True


def asks_of(answer: Any) -> dict[str, Ask]:
    """Return what the jobs ask for whose supervisors wait, by submission ID."""
    asks = {}
    for row in _rows(answer):
        name = row.get("name")
        if isinstance(name, str) and name.startswith(SUPERVISOR):
            asks[name.removeprefix(SUPERVISOR)] = Ask(
                tuple(sorted(_amounts(row.get("required_resources")).items())),
                tuple(sorted(_texts(row.get("label_selector")).items())),
                canonical_environment(row.get("serialized_runtime_env")),
            )
    return asks


def nodes_of(answer: Any) -> list[Node]:
    """Return the nodes that are alive."""
    return [
        Node(
            node_id=str(row.get("node_id")),
            address=printable(row.get("node_ip")),
            total=_amounts(row.get("resources_total")),
            labels=_texts(row.get("labels")),
        )
        for row in _rows(answer)
        if row.get("state") == "ALIVE"
    ]


def installing_of(answer: Any, nodes: Iterable[Node]) -> dict[str, str]:
    """Return the environments that are being installed, each with the address of a node that does it."""
    addresses = {node.node_id: node.address for node in nodes}
    return {
        canonical_environment(row.get("runtime_env")): addresses.get(str(row.get("node_id")), "")
        for row in _rows(answer)
        if row.get("success") is None and row.get("error") is None
    }


def free_of(answer: Any) -> dict[str, Amounts]:
    """Return what is free on each node, by its ID, as the autoscaler's process tells it.

    It is empty where no such process runs. The answer is text such as ``1.0/2.0 CPU``.
    """
    told = _data(answer).get("nodeLogicalResources")
    if not isinstance(told, dict):
        return {}
    return {str(node_id): dict(_free(str(text))) for node_id, text in told.items()}


def used_of(answer: Any) -> dict[str, dict[str, float]]:
    """Return what living actors reserve on each node, by its ID. Tasks are not among them.

    :raises ValueError: if the answer has not all actors.
    """
    rows = list(_rows(answer))
    result = _data(answer).get("result")
    if not isinstance(result, dict) or len(rows) < (result.get("num_filtered") or 0):
        raise ValueError("a list of actors that was cut")
    used: dict[str, dict[str, float]] = {}
    for row in rows:
        here = used.setdefault(str(row.get("node_id")), {})
        for name, amount in _amounts(row.get("required_resources")).items():
            here[name] = here.get(name, 0.0) + amount
    return used


def autoscaler_of(status: Any, events: Any) -> Autoscaler | None:
    """Return the autoscaler, None if the cluster has none.

    :param status: The answer with the text that ``ray status`` prints.
    :param events: The answer with the cluster's events.
    """
    text = str(_data(status).get("clusterStatus") or "")
    pending = _PENDING_NODES.search(text)
    starting = tuple(
        printable(line)
        for line in (pending[1].splitlines() if pending else ())
        if not line.strip().startswith("(")
    )
    types = _NODE_TYPES.findall(text)
    if not starting and all(_NODE_WITHOUT_TYPE.fullmatch(name) for name in types):
        return None
    return Autoscaler(starting, tuple(_unfulfillable(events)))


def canonical_environment(value: Any) -> str:
    """Return a runtime_env as text that is the same for equal ones, whether it came as JSON or parsed."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return ""
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else ""


def printable(value: Any, length: int = 60) -> str:
    """Return the beginning of what a cluster calls something, without control characters."""
    text = " ".join(str(value or "").split())[:length]
    return "".join(char if char.isprintable() else "?" for char in text)


def _unfulfillable(events: Any) -> Iterator[Amounts]:
    for row in _rows(events):
        message = row.get("message")
        if isinstance(message, str) and _UNFULFILLABLE in message:
            for request in _REQUEST.findall(message[:10_000]):
                try:
                    yield _amounts(ast.literal_eval(request))
                except (ValueError, SyntaxError, MemoryError, RecursionError):
                    continue


def _free(text: str) -> Iterator[tuple[str, float]]:
    for line in text.splitlines():
        usage = _USAGE.fullmatch(line)
        if usage is not None:
            used, used_unit, total, total_unit, name = usage.groups()
            free = _number(total, total_unit) - _number(used, used_unit)
            yield name, max(0.0, free)


def _number(digits: str, unit: str | None) -> float:
    try:
        return float(digits) * _UNITS.get(unit or "B", 1)
    except ValueError:
        return 0.0


def _data(answer: Any) -> dict[str, Any]:
    data = answer.get("data") if isinstance(answer, dict) else None
    return data if isinstance(data, dict) else {}


def _rows(answer: Any) -> Iterator[dict[str, Any]]:
    result = _data(answer).get("result")
    rows = result.get("result") if isinstance(result, dict) else None
    return (row for row in (rows if isinstance(rows, list) else ()) if isinstance(row, dict))


def _amounts(value: Any) -> dict[str, float]:
    return {
        str(name): float(amount)
        for name, amount in (value.items() if isinstance(value, dict) else ())
        if isinstance(amount, (int, float)) and 0 <= amount < _LARGEST_AMOUNT
    }


def _texts(value: Any) -> dict[str, str]:
    pairs = value.items() if isinstance(value, dict) else ()
    return {str(name): str(text) for name, text in pairs}


_LARGEST_AMOUNT = 1e18
"""No node has that much of anything; infinity and NaN are not below it either."""
