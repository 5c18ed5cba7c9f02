"""The button that opens the page of a task's job in the Ray dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink
from airflow.sdk.execution_time.xcom import XCom

from airflow_synapse.handover.xcom_keys import JOB_PAGE_KEY

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class RayJobLink(BaseOperatorLink):
    """The job's page in the Ray dashboard. The button works as soon as the job is submitted.

    Airflow's UI shows the XCom with the key :attr:`xcom_key`. The operators push it themselves before they
    wait, because Airflow would push it only when the task has ended.
    """

    @property
    def name(self) -> str:
        """The text on the button."""
        return "Ray job"

    @property
    def xcom_key(self) -> str:
        """The key of the XCom with the URL."""
        return JOB_PAGE_KEY

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL, empty if no job was submitted.

        An operator that has run knows it, so this does not read the XCom. Airflow would log an error for a
        missing one.
        """
        page: str | None = getattr(operator, "job_page", None)
        return (XCom.get_value(ti_key=ti_key, key=self.xcom_key) or "") if page is None else page
