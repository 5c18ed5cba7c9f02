"""Says where a cluster is, in the way that DAGs and commands do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from airflow.sdk import BaseHook

from airflow_synapse.hooks.connection import RayConnection, read_connection, stop_command
from airflow_synapse.hooks.credential_source import ConnectionSource, shared_reading
from airflow_synapse.hooks.template_values import to_text
from airflow_synapse.version_compat import aget_connection, connection_on_api_server

DEFAULT_CONN_ID = "ray_default"


@dataclass(frozen=True)
class ClusterRef:
    """Where a Ray cluster is: the name of an Airflow connection.

    It holds no address and no secret, so it may be stored and shown. Resolve it whenever you need them,
    because they may have changed.

    :param ray_conn_id: The connection, of type ``ray``.
    """

    ray_conn_id: str = DEFAULT_CONN_ID

    @classmethod
    def of_fields(cls, values: Mapping[str, Any]) -> ClusterRef | None:
        """Return where the rendered fields of a task say that the cluster is, None if they don't."""
        conn_id = to_text(values.get("ray_conn_id"))
        return cls(conn_id) if isinstance(conn_id, str) and conn_id else None

    def __str__(self) -> str:
        return self.ray_conn_id

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments that say this to an operator, a sensor, a trigger or a hook."""
        return asdict(self)

    def how_to_stop(self, job_id: str) -> str:
        """Return the command with which a person stops a job there."""
        return stop_command(job_id, conn_id=self.ray_conn_id)

    def resolve(self) -> RayConnection:
        """Return how the cluster is reached now, in a task, a command or a script.

        :raises RayAddressError: if the connection can't be used.
        :raises AirflowNotFoundException: if there is no such connection.
        """
        source = ConnectionSource(self.ray_conn_id, lambda: asyncio.to_thread(self._read))
        return source.given_to(self._read())

    def _read(self) -> RayConnection:
        return read_connection(BaseHook.get_connection(self.ray_conn_id))

    async def aresolve(self) -> RayConnection:
        """Return how the cluster is reached now, in the triggerer. Raises the same as :meth:`resolve`."""
        source = ConnectionSource(self.ray_conn_id, self._aread_shared)
        return source.given_to(await self._aread_shared())

    async def _aread_shared(self) -> RayConnection:
        return await shared_reading(self.ray_conn_id, self._aread)

    async def _aread(self) -> RayConnection:
        return read_connection(await aget_connection(self.ray_conn_id))

    def resolve_on_api_server(self, *, dag_id: str) -> RayConnection | None:
        """Return how the cluster is reached now, on the API server, None if there is no such connection.

        :param dag_id: The DAG that needs it. A connection may belong to the DAGs of one team.
        :raises RayAddressError: if the connection can't be used.
        """
        conn = connection_on_api_server(self.ray_conn_id, dag_id=dag_id)
        return None if conn is None else read_connection(conn)


CLUSTER_FIELDS = tuple(field.name for field in fields(ClusterRef))
"""The fields of operators and sensors that say where their cluster is."""
