"""Finds out step by step whether a Kubernetes connection can be used for Ray clusters and, if not, why."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from airflow_synapse.clusters.kubernetes_api import KubernetesApi
from airflow_synapse.clusters.names import ClusterName
from airflow_synapse.clusters.rights import JOB_RIGHTS, MORE_RIGHTS
from airflow_synapse.exceptions import AirflowSynapseError
from airflow_synapse.rayjobs.client.kubernetes.rights import Right, role
from airflow_synapse.rayjobs.diagnosis import FAIL, OK, WARN, Finding

Found = tuple[str, str, str]
"""The verdict, what was found, and what to do."""


async def diagnose_kubernetes(
    api: KubernetesApi, name: ClusterName | None = None
) -> AsyncIterator[Finding]:
    """Yield what each step finds out.

    :param api: The API server, with the namespace that is asked about.
    :param name: A cluster to look at, too.
    """
    steps: list[tuple[str, Callable[[], Awaitable[Found]]]] = [
        ("API server", lambda: _reach(api)),
        ("rights for jobs", lambda: _rights(api, JOB_RIGHTS, FAIL)),
        ("more rights", lambda: _rights(api, MORE_RIGHTS, WARN)),
        ("KubeRay", lambda: _kuberay(api)),
        ("operator", lambda: _operator(api)),
        ("dry run", lambda: _dry_run(api)),
    ]
    if name is not None:
        steps.append(("RayCluster", lambda: _cluster(api, name)))
    for step, find in steps:
        yield await _tried(step, find)


async def _tried(step: str, find: Callable[[], Awaitable[Found]]) -> Finding:
    began = time.monotonic()
    error: AirflowSynapseError | None = None
    try:
        verdict, told, todo = await find()
    except AirflowSynapseError as exc:
        verdict, told, todo, error = FAIL, str(exc), "", exc
    return Finding(step, verdict, told, todo, time.monotonic() - began, error)


async def _reach(api: KubernetesApi) -> Found:
    return OK, f"It answers as Kubernetes {await api.version()} and lets us in.", ""


async def _rights(api: KubernetesApi, rights: Mapping[Right, str], verdict: str) -> Found:
    missing = [r for r in rights if not await api.may(r.verb, r.resource, r.group)]
    if not missing:
        return OK, f"All are there in namespace {api.namespace}.", ""
    what = "; ".join(f"{r.verb} {r.resource} ({rights[r]})" for r in missing)
    todo = f"Bind a Role with what is missing:\n{role(api.namespace, missing)}"
    return verdict, f"Missing in namespace {api.namespace}: {what}.", todo


async def _kuberay(api: KubernetesApi) -> Found:
    versions = await api.kuberay_versions()
    if "v1" in versions:
        return OK, f"Its RayClusters are installed, in version {', '.join(versions)}.", ""
    told = "The API server knows no RayClusters of version v1."
    return FAIL, told, "Install KubeRay 1.0 or newer, with its custom resources."


async def _operator(api: KubernetesApi) -> Found:
    clusters = await api.list_clusters()
    if any(cluster.is_observed for cluster in clusters):
        return OK, "An operator looks after the RayClusters of the namespace.", ""
    if not clusters:
        told = "There is no RayCluster in the namespace, so it can't be seen whether an operator is alive."
        return (
            WARN,
            told,
            "Look at it with `kubectl get pods -A -l app.kubernetes.io/name=kuberay-operator`.",
        )
    told = "No operator has looked at the RayClusters of the namespace."
    return FAIL, told, "Start KubeRay's operator, and let it watch this namespace."


async def _dry_run(api: KubernetesApi) -> Found:
    if not await api.may("create", "rayclusters", "ray.io"):
        return WARN, "RayClusters may not be created, which jobs on existing ones don't need.", ""
    problem = await api.dry_run(_SMALLEST)
    if problem:
        return FAIL, f"A RayCluster would be refused: {problem}", ""
    return OK, "A RayCluster would be accepted.", ""


async def _cluster(api: KubernetesApi, name: ClusterName) -> Found:
    cluster = await api.get_cluster(name)
    return (OK if cluster.is_head_ready else FAIL), f"{name}: {cluster.told()}.", ""


_POD = {"spec": {"containers": [{"name": "ray-head", "image": "rayproject/ray"}]}}
_SMALLEST = {
    "apiVersion": "ray.io/v1",
    "kind": "RayCluster",
    "metadata": {"generateName": "airflow-synapse-check-"},
    "spec": {"headGroupSpec": {"rayStartParams": {}, "template": _POD}},
}
"""A RayCluster that is only shown to the API server."""
