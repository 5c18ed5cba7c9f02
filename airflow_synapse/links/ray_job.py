"""The button that leads from a task to its job's page in the Ray dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink
from airflow.sdk.execution_time.xcom import XCom

from airflow_synapse.handover.xcom_keys import JOB_PAGE_KEY

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class RayJobLink(BaseOperatorLink):
    """The job's page in the Ray dashboard, from the moment the job is submitted.

    Airflow's UI shows what stands in XCom under :attr:`xcom_key`. The operators push it themselves
    before they wait, as Airflow would do it only once the task has ended.
    """

    @property
    def name(self) -> str:
        """The text on the button."""
        return "Ray job"

    @property
    def xcom_key(self) -> str:
        """Where the URL stands."""
        return JOB_PAGE_KEY

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL, empty if no job was submitted.

        The operator that has run knows it. Airflow logs an error for an XCom that is not there.
        """
        page: str | None = getattr(operator, "job_page", None)
        return (XCom.get_value(ti_key=ti_key, key=self.xcom_key) or "") if page is None else page
