"""Handles the differences between the Airflow versions that we support.

Only this package looks at the version, apart from the UI plugin, which must not import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow import __version__
from airflow.configuration import conf
from packaging.version import Version

if TYPE_CHECKING:
    from airflow.sdk.definitions.connection import Connection

try:  # Airflow 3.2 moved these
    from airflow.sdk.exceptions import (
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferralError,
        TaskDeferralTimeout,
        TaskDeferred,
    )
except ImportError:
    from airflow.exceptions import (  # type: ignore[no-redef, attr-defined]  # of Airflow 3.1
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferralError,
        TaskDeferralTimeout,
        TaskDeferred,
    )

__all__ = [
    "TRIGGERS_HAVE_ON_KILL",
    "TRIGGERS_RENDER_TEMPLATES",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "TaskDeferralError",
    "TaskDeferralTimeout",
    "TaskDeferred",
    "aget_connection",
    "conf",
    "connection_on_api_server",
    "stats",
]

_installed = Version(Version(__version__).base_version)

TRIGGERS_HAVE_ON_KILL = _installed >= Version("3.3.0")
"""Whether the triggerer calls ``BaseTrigger.on_kill`` when a user kills a deferred task."""

TRIGGERS_RENDER_TEMPLATES = _installed >= Version("3.3.0")
"""Whether the triggerer renders the arguments of a task that starts there."""


async def aget_connection(conn_id: str) -> Connection:
    """Return a connection from inside the triggerer's event loop.

    ``BaseHook.aget_connection`` came with Airflow 3.2. Its synchronous counterpart fails in asyncio
    tasks that other tasks of the event loop have started.
    """
    from airflow.sdk import BaseHook

    if hasattr(BaseHook, "aget_connection"):
        return await BaseHook.aget_connection(conn_id)
    from airflow.sdk.definitions.connection import Connection

    connection: Connection = await Connection.async_get(conn_id)
    return connection


def connection_on_api_server(conn_id: str, *, dag_id: str) -> Any:
    """Return a connection from the API server's database, environment or secrets backend, or None.

    :param dag_id: The DAG that needs it. On Airflow 3.2 and newer, a connection can belong to the DAGs
        of one team.
    """
    from airflow.exceptions import AirflowNotFoundException  # type: ignore[attr-defined]  # lazy
    from airflow.models.connection import Connection

    options = {}
    if conf.getboolean("core", "multi_team", fallback=False):
        from airflow.models.dag import DagModel

        options["team_name"] = DagModel.get_team_name(dag_id)
    try:
        return Connection.get_connection_from_secrets(conn_id, **options)
    except (AirflowNotFoundException, PermissionError):  # there is none, or a backend denies access
        return None


def stats(*, in_triggerer: bool = False) -> Any:
    """Return the class for metrics in this process, with ``incr``, ``gauge`` and ``timing``.

    Airflow 3.2 and newer have two, in ``airflow`` and in ``airflow.sdk``. A triggerer sets up the first
    and a task's process the second. The one that is not set up drops its metrics.
    """
    try:
        if in_triggerer:
            from airflow.observability.stats import Stats
        else:
            from airflow.sdk.observability.stats import Stats  # type: ignore[assignment]
    except ImportError:  # Airflow 3.1
        from airflow.stats import Stats  # type: ignore[assignment]
    return Stats
