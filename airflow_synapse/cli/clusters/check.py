"""``airflow ray check --kubernetes``: whether a Kubernetes connection can be used for Ray clusters."""

from __future__ import annotations

import asyncio
from argparse import Namespace

from airflow_synapse.cli.cluster import kuberay_hook_of
from airflow_synapse.clusters.diagnosis import diagnose_kubernetes
from airflow_synapse.clusters.names import ClusterName
from airflow_synapse.exceptions import RayAddressError
from airflow_synapse.rayjobs.client.credentials.pace import IMPATIENT
from airflow_synapse.rayjobs.diagnosis import FAIL, OK, Finding


def check_kubernetes(args: Namespace) -> list[Finding]:
    """Return what was found out about the Kubernetes connection of a command."""
    name = ClusterName.of(args.ray_cluster) if args.ray_cluster else None
    namespace = name.namespace if name is not None else args.namespace
    hook = kuberay_hook_of(args)
    try:
        kubernetes = hook.get_conn()
    except RayAddressError as exc:
        return [Finding("Kubernetes connection", FAIL, str(exc), error=exc)]
    where = "from a pod of it" if kubernetes.is_inside else "from outside"
    first = Finding(
        "Kubernetes connection",
        OK,
        f"{hook.kubernetes_conn_id} points to {kubernetes.api.address}, {where}.",
    )

    async def found() -> list[Finding]:
        async with hook.api_of(kubernetes, namespace, pace=IMPATIENT) as api:
            return [finding async for finding in diagnose_kubernetes(api, name)]

    return [first, *asyncio.run(found())]
