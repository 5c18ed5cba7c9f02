"""What operators share whose job leaves a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
        return self._hook().get_result(event["job_id"])
