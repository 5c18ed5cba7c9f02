"""What OpenLineage's events of our tasks tell of the job, and what the job is told of its task.

Nothing of ``apache-airflow-providers-openlineage`` is imported before that provider itself asks for
lineage, or is looked for when a job is submitted.
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
"""Environment: the task's run as ``namespace/name/run id``."""

ROOT_PARENT_ID = "OPENLINEAGE_ROOT_PARENT_ID"
"""Environment: the DAG's run, or what that was given as its own root, likewise."""

_SAYS_SO_ITSELF = frozenset({PARENT_ID, ROOT_PARENT_ID, "OPENLINEAGE_CONTEXT"})
"""Where a job's environment has one of these, its author has decided on the parent."""

FACET_NAME = "airflowSynapse_rayJob"


class OpenLineageFacets:
    """Mixed into operators and sensors: answers OpenLineage's provider with the task's job.

    The provider asks the very instance that has run, from a process forked off it, where Airflow must
    not be asked for anything. So what there is to tell is noted beforehand.
    """

    _facts: JobFacts | None = None

    def get_openlineage_facets_on_complete(self, ti: Any) -> OperatorLineage[Any, Any] | None:  # noqa: ARG002  # the provider's signature
        """Return the job as run facets, None if there was none."""
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

        Where its end was not seen, its status is left out: it is that of the last look.
        """
        if self._facts is not None and self._facts.status in (PENDING, RUNNING):
            self._facts = replace(self._facts, status=None)
        return self.get_openlineage_facets_on_complete(ti)


def with_parent_run(job: PreparedJob, ti: Any, *, logger: Logger) -> PreparedJob:
    """Return the job with the task's run in its environment, where OpenLineage is in use.

    Clients of OpenLineage inside the job, such as ``dbt-ol``, name it as the parent of their runs. An
    environment that names a parent itself stays as it is. A later try that takes the job over has a
    run of its own, and the job keeps the one that it was submitted with.
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
        logger.warning("OpenLineage did not tell the task's run, so the job won't know it: %r", exc)
        return {}
