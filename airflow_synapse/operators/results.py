"""What operators share if their job leaves a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_synapse.exceptions import ExecutionError
from airflow_synapse.handover.airflow_values import safe_value
from airflow_synapse.operators.base import RayJobOperator

if TYPE_CHECKING:
    from airflow_synapse.rayjobs.executor import RayJobExecutor
    from airflow_synapse.rayjobs.job.outcome import Outcome
    from airflow_synapse.rayjobs.models import JobInfo


class RayResultOperator(RayJobOperator):
    """Runs a job that makes a call, and returns what the call returned."""

    def _has_result(self, executor: RayJobExecutor, job: JobInfo) -> bool:
        """Whether the result of a job that has SUCCEEDED can still be read, if anybody wants it.

        :raises RayClusterUnreachableError: if that could not be found out.
        """
        if not (self.wait_for_completion and self.do_xcom_push):
            return True
        try:
            executor.get_result(job.job_id)
        except ExecutionError as exc:
            self.log.warning(
                "%s It is not taken over from the earlier try, so what it runs is run again, as a new job.",
                exc,
            )
            return False
        return True

    def result_of(self, outcome: Outcome) -> Any:
        """Return the result, and read it from the cluster if it did not come with the outcome.

        If nobody wants the result, it is not read, so it can't be missing either.
        """
        if not self.do_xcom_push:
            return None
        if outcome.document is not None:
            result = outcome.document["result"]
        else:
            result = self._hook().get_result(outcome.job_id)
        storable = safe_value(result)
        if storable != result:
            self.log.warning(
                "The result of Ray job %s contains integers of more than 64 bits or invalid characters, "
                "which no XCom can hold. They were replaced with readable text.",
                outcome.job_id,
            )
        return storable
