"""Adds the job to OpenLineage's events about its task, and tells the job which task submitted it.

This imports ``apache-airflow-providers-openlineage`` only when that provider asks for lineage or when
a job is submitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_synapse.handover.job_facts import JobFacts
from airflow_synapse.rayjobs.models import PENDING, RUNNING

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_synapse.rayjobs.packing.preparation import PreparedJob
    from airflow_synapse.rayjobs.reporting import Logger

PARENT_ID = "OPENLINEAGE_PARENT_ID"
"""The environment variable with the task's run as ``namespace/name/run id``."""

ROOT_PARENT_ID = "OPENLINEAGE_ROOT_PARENT_ID"
"""The environment variable with the DAG run, or with the root that the DAG run was given."""

_SAYS_SO_ITSELF = frozenset({PARENT_ID, ROOT_PARENT_ID, "OPENLINEAGE_CONTEXT"})
"""If a job's environment has one of these, its author has chosen the parent."""

FACET_NAME = "airflowSynapse_rayJob"


class OpenLineageFacets:
    """A mixin for operators and sensors that tells OpenLineage's provider about the task's job.

    The provider calls the instance that has run, but in a forked process, which must not call Airflow.
    So the instance keeps the facts about its job beforehand.
    """

    _facts: JobFacts | None = None

    def get_openlineage_facets_on_complete(self, ti: Any) -> OperatorLineage[Any, Any] | None:  # noqa: ARG002  # the provider's signature
        """Return the job as run facets, None if there was no job."""
        if self._facts is None:
            return None
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.facet_v2 import external_query_run

        from airflow_synapse.lineage.facet import RayJobRunFacet

        facts = self._facts
        run_facets: dict[str, Any] = {FACET_NAME: RayJobRunFacet.of(facts)}
        if facts.cluster is not None:
            run_facets["externalQuery"] = external_query_run.ExternalQueryRunFacet(
                externalQueryId=facts.job_id, source=facts.cluster
            )
        return OperatorLineage(run_facets=run_facets)

    def get_openlineage_facets_on_failure(self, ti: Any) -> OperatorLineage[Any, Any] | None:
        """Return the job as run facets, None if the task failed before there was one.

        If nobody saw the job end, its status is left out because it is out of date.
        """
        if self._facts is not None and self._facts.status in (PENDING, RUNNING):
            self._facts = replace(self._facts, status=None)
        return self.get_openlineage_facets_on_complete(ti)


def with_parent_run(job: PreparedJob, ti: Any, *, logger: Logger) -> PreparedJob:
    """Return the job with the task's run in its environment, if OpenLineage is in use.

    OpenLineage clients inside the job, such as ``dbt-ol``, use that run as the parent of their own. An
    environment that already names a parent stays unchanged. A later try that takes the job over has a
    run of its own, but the job keeps the run that it was submitted with.
    """
    runtime_env = job.spec.runtime_env
    env_vars: Mapping[str, str] = runtime_env.get("env_vars") or {}
    if _SAYS_SO_ITSELF & set(env_vars):
        return job
    parent = _parent_run(ti, logger)
    if not parent:
        return job
    changed = {**runtime_env, "env_vars": {**env_vars, **parent}}
    return replace(job, spec=replace(job.spec, runtime_env=changed))


def _parent_run(ti: Any, logger: Logger) -> dict[str, str]:
    try:
        from airflow.providers.openlineage import conf
    except ImportError:
        return {}
    try:
        if conf.is_disabled():
            return {}
        from airflow.providers.openlineage.plugins import macros

        return {
            PARENT_ID: macros.lineage_parent_id(ti),
            ROOT_PARENT_ID: macros.lineage_root_parent_id(ti),
        }
    except Exception as exc:  # noqa: BLE001  # whatever another provider raises, the job matters more
        logger.warning(
            "The job won't know its parent run, because OpenLineage's provider failed: %r", exc
        )
        return {}
