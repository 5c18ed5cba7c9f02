"""Reads an Airflow connection again while its cluster is in use, because its credentials may change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from airflow_synapse.exceptions import RayClusterUnreachableError
from airflow_synapse.hooks.connection import RayConnection
from airflow_synapse.rayjobs.models import RayCluster

T = TypeVar("T")

_GOOD_FOR = 1.0
"""Seconds for which a reading serves all who ask. A hundred triggers that start at once, or that are all
refused, must not ask a secrets backend a hundred times."""

_PATIENCE = 30.0
"""Seconds that a reading may take."""

_Readings = dict[str, "asyncio.Task[Any]"]
_readings: WeakKeyDictionary[asyncio.AbstractEventLoop, _Readings] = WeakKeyDictionary()


@dataclass
class ConnectionSource:
    """The credentials of an Airflow connection. Sources with the same name are equal.

    :param name: What names the connection.
    :param reread: Reads it.
    """

    name: str
    reread: Callable[[], Awaitable[RayConnection]] = field(compare=False, repr=False)
    newest: RayCluster | None = field(default=None, compare=False, repr=False)

    async def read(self, cluster: RayCluster) -> RayCluster:  # noqa: ARG002  # all is in the connection
        """Return the cluster as the connection describes it now."""
        return (await self.reread()).cluster

    def given_to(self, connection: RayConnection) -> RayConnection:
        """Return the connection, whose credentials can be read again here."""
        self.newest = (
            connection.cluster
        )  # without this source, or both would wait for a garbage collection
        return replace(connection, cluster=replace(connection.cluster, source=self))


async def shared_reading(name: str, read: Callable[[], Awaitable[T]]) -> T:
    """Return what ``read`` returns, or what it returned a moment ago to somebody else on this event loop.

    :param name: What is read.
    :raises RayClusterUnreachableError: if there is no answer in time. A program that a kubeconfig names may hang.
    """
    loop = asyncio.get_running_loop()
    readings = _readings.setdefault(loop, {})
    reading = readings.get(name)
    if reading is None:
        reading = readings[name] = loop.create_task(_awaited(read))

        def end(done: asyncio.Task[T]) -> None:
            if not done.cancelled():
                done.exception()  # all who wanted it may have left
            loop.call_later(_GOOD_FOR, readings.pop, name, None)

        reading.add_done_callback(end)
    try:
        result: T = await asyncio.wait_for(asyncio.shield(reading), _PATIENCE)
    except asyncio.TimeoutError as exc:
        raise RayClusterUnreachableError(
            cluster=f"connection {name}",
            reason=f"it could not be read within {_PATIENCE:g} s",
            hint="Check the secrets backend, and programs that its kubeconfig runs.",
        ) from exc
    return result


async def _awaited(read: Callable[[], Awaitable[T]]) -> T:
    return await read()
