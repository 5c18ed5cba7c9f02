"""What operators share whose job leaves a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_synapse.handover.airflow_values import safe_value
from airflow_synapse.operators.base import RayJobOperator

if TYPE_CHECKING:
    from airflow_synapse.rayjobs.job.outcome import Outcome


class RayResultOperator(RayJobOperator):
    """Runs a job that calls something and returns what that returned."""

    def result_of(self, outcome: Outcome) -> Any:
        """Return the result, read from the cluster if it did not come with the outcome.

        Where nobody wants it, none is read that could be missing.
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
                "The result of Ray job %s has integers of more than 64 bits, or text that is none, which "
                "no XCom can hold. They are kept as readable text.",
                outcome.job_id,
            )
        return storable
