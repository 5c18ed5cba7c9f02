"""What differs between the Airflow versions we support: the only place that looks at the version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow import __version__
from airflow.configuration import conf
from packaging.version import Version

if TYPE_CHECKING:
    from airflow.sdk.definitions.connection import Connection

__all__ = ["SENSORS_LIVE_IN_TRIGGERER", "TRIGGERS_HAVE_ON_KILL", "aget_connection", "conf"]

_installed = Version(Version(__version__).base_version)

_IS_3_3_PLUS = _installed >= Version("3.3.0")

TRIGGERS_HAVE_ON_KILL = _IS_3_3_PLUS
"""Whether the triggerer calls ``BaseTrigger.on_kill`` when a user kills a deferred task."""

SENSORS_LIVE_IN_TRIGGERER = _IS_3_3_PLUS
"""Whether a task with mapped or templated arguments can start and end in the triggerer."""


async def aget_connection(conn_id: str) -> Connection:
    """Return a connection from inside the triggerer's event loop.

    ``BaseHook.aget_connection`` came with Airflow 3.2; its synchronous twin fails in tasks that
    the event loop's tasks have started.
    """
    from airflow.sdk import BaseHook

    if hasattr(BaseHook, "aget_connection"):
        return await BaseHook.aget_connection(conn_id)
    from airflow.sdk.definitions.connection import Connection

    connection: Connection = await Connection.async_get(conn_id)
    return connection
