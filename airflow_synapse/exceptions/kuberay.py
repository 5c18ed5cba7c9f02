"""Errors about a Ray cluster that KubeRay makes on Kubernetes."""

from __future__ import annotations

from airflow_synapse.exceptions.jobs import ExecutionError

RAY_CLUSTER_GONE = "RAY_CLUSTER_GONE"
"""The ``error_type`` in a trigger's event for a cluster that is gone."""


class RayClusterGoneError(ExecutionError):
    """The Ray cluster is no longer there, or never was. Its jobs ended with it.

    ``cluster`` is its name, ``namespace/name``.
    """

    def sentence(self) -> str:
        job = f" Job {self.job_id} ended with it." if self.job_id else ""
        hint = self.hint or "Check the name and the namespace, and who deletes the cluster."
        return f"The Ray cluster {self.cluster} is gone: {self.reason}.{job} {hint}"


class RayClusterConflictError(ExecutionError):
    """Somebody else's Ray cluster has the name."""

    def sentence(self) -> str:
        hint = self.hint or "Nothing was changed. Choose another name."
        return f"The name {self.cluster} is taken by another Ray cluster: {self.reason}. {hint}"


class RayClusterInvalidError(ExecutionError):
    """Kubernetes or KubeRay can't make a Ray cluster of what it was given."""

    def sentence(self) -> str:
        hint = self.hint or "Correct it, and try again."
        return f"The Ray cluster {self.cluster} can't be made: {self.reason}. {hint}"
