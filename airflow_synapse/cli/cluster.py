"""Finds the cluster that a command is about."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import Any

from airflow_synapse.exceptions import RayAddressError
from airflow_synapse.hooks.cluster_ref import ClusterRef
from airflow_synapse.hooks.kuberay import KubeRayHook
from airflow_synapse.hooks.ray_job import RayJobHook
from airflow_synapse.rayjobs.executor import RayJobExecutor
from airflow_synapse.version_compat import AirflowNotFoundException


def ref_of(args: Namespace) -> ClusterRef:
    """Return which cluster a command names.

    :raises RayAddressError: if it names none, or two.
    """
    given = {
        "ray_conn_id": args.conn_id,
        "ray_cluster": getattr(args, "ray_cluster", None),
        "kubernetes_conn_id": getattr(args, "kubernetes_conn_id", None),
        "reach": getattr(args, "reach", None),
    }
    try:
        return ClusterRef.of(**given)
    except ValueError as exc:
        raise RayAddressError(
            address=f"--ray-cluster {given['ray_cluster']}",
            reason="--conn-id names another cluster",
            hint="Give one of them.",
        ) from exc


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
        if ref.ray_cluster is not None:
            raise _no_kubernetes(ref.kubernetes_conn_id) from exc
        raise RayAddressError(
            address=f"connection {ref}",
            reason="Airflow has no connection with this name",
            hint=f"Create one: airflow connections add {ref} --conn-type ray --conn-host head-node "
            "--conn-port 8265.",
        ) from exc
    return hook


def kuberay_hook_of(args: Namespace) -> KubeRayHook:
    """Return the hook of the Kubernetes connection that a command names.

    :raises RayAddressError: if there is no such connection. Without the default one, the usual kubeconfig is used.
    """
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"  # as above
    conn_id = args.kubernetes_conn_id or KubeRayHook.default_conn_name
    if conn_id != KubeRayHook.default_conn_name:
        try:
            KubeRayHook.get_connection(conn_id)
        except AirflowNotFoundException as exc:
            raise _no_kubernetes(conn_id) from exc
    return KubeRayHook(conn_id)


def _no_kubernetes(conn_id: str) -> RayAddressError:
    return RayAddressError(
        address=f"connection {conn_id}",
        reason="Airflow has no connection with this name",
        hint=f"Create one: airflow connections add {conn_id} --conn-type kubernetes.",
    )


def executor_of(args: Namespace, **executor_options: Any) -> RayJobExecutor:
    """Return an executor for the cluster that a command names.

    :raises RayAddressError: if the connection does not exist or can't be used.
    """
    return hook_of(ref_of(args), **executor_options).get_conn()


def again(command: str, job_id: str, ref: ClusterRef) -> str:
    """Return a command about a job that users can paste into a terminal."""
    return f"airflow ray {command} {job_id}{ref.command_options()}"
