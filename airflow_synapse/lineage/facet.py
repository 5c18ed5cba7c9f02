"""The run facet for a Ray job. Imported only if OpenLineage's client is installed."""

from __future__ import annotations

import attr
from openlineage.client.facet_v2 import RunFacet

from airflow_synapse.handover.job_facts import JobFacts


@attr.define
class RayJobRunFacet(RunFacet):
    """A task's Ray job, with names in OpenLineage's style. See :class:`.JobFacts`."""

    jobId: str  # noqa: N815
    cluster: str | None = None
    dashboardUrl: str | None = None  # noqa: N815
    status: str | None = None
    plugin: str | None = None
    action: str | None = None
    duration: float | None = None

    @classmethod
    def of(cls, facts: JobFacts) -> RayJobRunFacet:
        """Return the facet of a job."""
        return cls(
            jobId=facts.job_id,
            cluster=facts.cluster,
            dashboardUrl=facts.page,
            status=facts.status,
            plugin=facts.plugin,
            action=facts.action,
            duration=facts.duration,
        )
