"""The cluster of an Airflow connection, as commands get at it."""

from __future__ import annotations

import os
from typing import Any

from airflow_synapse.exceptions import RayAddressError
from airflow_synapse.hooks.ray_job import RayJobHook
from airflow_synapse.rayjobs.executor import RayJobExecutor
from airflow_synapse.version_compat import AirflowNotFoundException


def hook_of(conn_id: str, **executor_options: Any) -> RayJobHook:
    """Return the hook of a connection that exists and can be read.

    :raises RayAddressError: if it does not or can't.
    """
    # So that Airflow looks into the metadata database, too, as in its own `airflow connections`.
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
    hook = RayJobHook(conn_id, **executor_options)
    try:
        hook.connection  # noqa: B018  # is read and kept
    except AirflowNotFoundException as exc:
        raise RayAddressError(
            address=f"connection {conn_id}",
            reason="Airflow has no connection of this name",
            hint=f"Make one: airflow connections add {conn_id} --conn-type ray --conn-host head-node "
            "--conn-port 8265.",
        ) from exc
    return hook


def executor_of(conn_id: str, **executor_options: Any) -> RayJobExecutor:
    """Return an executor for the cluster of a connection.

    :raises RayAddressError: if the connection does not exist or can't be used.
    """
    return hook_of(conn_id, **executor_options).get_conn()


def again(command: str, job_id: str, conn_id: str) -> str:
    """Return a command about a job, to be typed or pasted."""
    connection = "" if conn_id == RayJobHook.default_conn_name else f" --conn-id {conn_id}"
    return f"airflow ray {command} {job_id}{connection}"
