"""What only DAG files need of Airflow. A triggerer imports none of it: it would block the event loop."""

from __future__ import annotations

try:  # Airflow 3.2
    from airflow.sdk.bases.decorator import KeywordParameters
except ImportError:
    from airflow.utils.operator_helpers import (  # type: ignore[attr-defined]  # of Airflow 3.1
        KeywordParameters,
    )

try:  # Airflow 3.3
    from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy
except ImportError:
    RetryDecision = None  # type: ignore[assignment, misc]
    RetryPolicy = object  # type: ignore[assignment, misc]

__all__ = ["KeywordParameters", "RetryDecision", "RetryPolicy"]
