"""The rights that work with Ray clusters on Kubernetes needs, and what each is for. Pure."""

from __future__ import annotations

from airflow_synapse.rayjobs.client.kubernetes.rights import Right

JOB_RIGHTS: dict[Right, str] = {
    Right("get", "services/proxy"): "look at jobs and read their logs",
    Right("create", "services/proxy"): "submit and stop jobs",
    Right("update", "services/proxy"): "upload code",
    Right("delete", "services/proxy"): "delete old jobs",
}
"""What jobs need on a cluster that is reached through the API server."""

MORE_RIGHTS: dict[Right, str] = {
    Right("list", "pods"): "read logs by ranges",
    Right("get", "pods/proxy"): "read logs by ranges",
    Right("get", "secrets"): "read Ray's token, if a cluster asks for one",
    Right("get", "rayclusters", "ray.io"): "wait for a cluster",
    Right("list", "rayclusters", "ray.io"): "wait for a cluster, and list them",
    Right("list", "events"): "say why a cluster does not start",
}
"""What can be done without, at a price."""
