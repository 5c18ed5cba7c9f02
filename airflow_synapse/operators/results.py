"""What operators share whose job leaves a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_synapse.handover.airflow_values import safe_value
from airflow_synapse.operators.base import RayJobOperator


class RayResultOperator(RayJobOperator):
    """Runs a job that calls something and returns what that returned."""

    def result_of(self, event: Mapping[str, Any]) -> Any:
        """Return the result, read from the cluster if it did not fit into the event.

        Where nobody wants it, none is read that could be missing.
        """
        if not self.do_xcom_push:
            return None
        if "result" in event:
            return event["result"]
        result = self._hook().get_result(event["job_id"])
        storable = safe_value(result)
        if storable != result:
            self.log.warning(
                "The result of Ray job %s has integers of more than 64 bits, or text that is none, which "
                "no XCom can hold. They are kept as readable text.",
                event["job_id"],
            )
        return storable
