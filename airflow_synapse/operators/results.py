"""What operators share if their job leaves a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_synapse.handover.airflow_values import safe_value
from airflow_synapse.operators.base import RayJobOperator

if TYPE_CHECKING:
    from airflow_synapse.rayjobs.job.outcome import Outcome


class RayResultOperator(RayJobOperator):
    """Runs a job that makes a call, and returns what the call returned."""

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
