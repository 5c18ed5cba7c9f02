"""``airflow ray clusters list`` and ``describe``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from airflow_synapse.cli import exits
from airflow_synapse.cli.cluster import kuberay_hook_of
from airflow_synapse.cli.exits import command, tell
from airflow_synapse.cli.tables import FOR_PEOPLE, print_one, print_rows
from airflow_synapse.clusters.names import ClusterName
from airflow_synapse.clusters.pods import PodState
from airflow_synapse.clusters.ray_clusters import RayClusterState


@command
def list_clusters(args: Namespace) -> int:
    """List the RayClusters of a namespace."""
    clusters = kuberay_hook_of(args).list_clusters(args.namespace)
    print_rows([_row(cluster) for cluster in clusters], args.output)
    if not clusters:
        tell("There are no RayClusters in the namespace.")
    return exits.OK


@command
def describe(args: Namespace) -> int:
    """Show everything that Kubernetes says about a RayCluster."""
    cluster, pods, events = kuberay_hook_of(args).describe(ClusterName.of(args.cluster))
    facts = {
        **_row(cluster),
        "uid": cluster.uid,
        "Ray's token": "asked for" if cluster.has_token else "not asked for",
        "state": cluster.told(),
        "pods": [_pod(pod, args.output) for pod in pods],
        "events": [_event(event) for event in events],
    }
    print_one(facts, args.output)
    return exits.OK


def _row(cluster: RayClusterState) -> dict[str, Any]:
    return {
        "cluster": str(cluster.name),
        "phase": cluster.phase,
        "workers": f"{cluster.workers}/{cluster.wanted_workers}",
        "ray_version": cluster.ray_version or None,
        "created": cluster.created or None,
    }


def _pod(pod: PodState, output: str) -> Any:
    if output in FOR_PEOPLE:
        return " ".join(filter(None, (pod.name, pod.phase, pod.node, pod.why)))
    return {"name": pod.name, "phase": pod.phase, "node": pod.node or None, "why": pod.why or None}


def _event(event: Mapping[str, Any]) -> str:
    return f"{event.get('type')} {event.get('reason')}: {event.get('message')}"
