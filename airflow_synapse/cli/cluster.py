"""Finds the cluster that a command is about."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import Any

from airflow_synapse.exceptions import RayAddressError
from airflow_synapse.hooks.cluster_ref import ClusterRef
from airflow_synapse.hooks.ray_job import RayJobHook
from airflow_synapse.rayjobs.executor import RayJobExecutor
from airflow_synapse.version_compat import AirflowNotFoundException


def ref_of(args: Namespace) -> ClusterRef:
    """Return which cluster a command names."""
    return ClusterRef(args.conn_id)


def hook_of(ref: ClusterRef, **executor_options: Any) -> RayJobHook:
    """Return the hook of a cluster. Its connection exists and has been read.

    :raises RayAddressError: if the connection does not exist or can't be used.
    """
    # Makes Airflow look in the metadata database, too, as its own `airflow connections` does.
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
    hook = RayJobHook.of(ref, **executor_options)
    try:
        hook.connection  # noqa: B018  # reads it, and the hook keeps it
    except AirflowNotFoundException as exc:
        raise RayAddressError(
            address=f"connection {ref}",
            reason="Airflow has no connection with this name",
            hint=f"Create one: airflow connections add {ref} --conn-type ray --conn-host head-node "
            "--conn-port 8265.",
        ) from exc
    return hook


def executor_of(args: Namespace, **executor_options: Any) -> RayJobExecutor:
    """Return an executor for the cluster that a command names.

    :raises RayAddressError: if the connection does not exist or can't be used.
    """
    return hook_of(ref_of(args), **executor_options).get_conn()


def again(command: str, job_id: str, ref: ClusterRef) -> str:
    """Return a command about a job that users can paste into a terminal."""
    connection = "" if ref == ClusterRef() else f" --conn-id {ref.ray_conn_id}"
    return f"airflow ray {command} {job_id}{connection}"
