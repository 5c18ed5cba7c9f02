"""Says whether Airflow will try a task again after an error, as Airflow itself decides it."""

from __future__ import annotations

from typing import Any

from airflow_synapse.operators.retry_policy import is_worth_a_retry
from airflow_synapse.version_compat import AirflowFailException


def is_try_left(task_instance: Any) -> bool:
    """Return whether Airflow's ``retries`` allow one more try."""
    return bool(task_instance.try_number <= (task_instance.max_tries or 0))


def will_be_retried(operator: Any, context: Any, error: BaseException) -> bool:
    """Return whether the task gets another try if it ends with this error.

    Retries may be used up, and the operator's ``retry_user_errors`` or ``retry_policy`` may rule one out.
    """
    if not is_try_left(context["ti"]) or isinstance(error, AirflowFailException):
        return False
    if not operator.retry_user_errors and is_worth_a_retry(error) is False:
        return False
    return not _is_refused(getattr(operator, "retry_policy", None), context, error)


def _is_refused(policy: Any, context: Any, error: BaseException) -> bool:
    """Return whether the policy makes the task fail. One that breaks decides nothing, as in Airflow."""
    if policy is None:
        return False
    ti = context["ti"]
    try:
        decision = policy.evaluate(
            exception=error, try_number=ti.try_number, max_tries=ti.max_tries, context=context
        )
        return bool(decision.action.value == "fail")
    except Exception:  # noqa: BLE001  # a policy is a user's code
        return False
