"""Decides which failures of a Ray job are worth another try."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any

from airflow_synapse.exceptions import (
    ActionNotFoundError,
    ActionParamsError,
    AirflowSynapseError,
    FunctionSourceError,
    JobIdConflictError,
    PluginManifestError,
    RayAddressError,
    RayAuthenticationError,
    RayClusterConflictError,
    RayClusterGoneError,
    RayClusterInvalidError,
    RayClusterUnreachableError,
    RayJobEntrypointError,
    RayJobInfrastructureError,
    RayJobNotFoundError,
    RayJobNotScheduledError,
    RayJobRuntimeEnvError,
    RayJobStoppedError,
    RayJobSubmissionError,
)
from airflow_synapse.version_compat import AirflowFailException
from airflow_synapse.version_compat.dag_files import RetryDecision, RetryPolicy

if TYPE_CHECKING:
    from airflow.sdk import Context

_WORTH_IT = (
    RayJobInfrastructureError,
    RayJobNotScheduledError,
    RayJobNotFoundError,
    RayClusterGoneError,
    RayClusterUnreachableError,
)
"""The cluster failed, so the same job may succeed next time."""

_IN_VAIN = (
    RayJobEntrypointError,
    RayJobRuntimeEnvError,
    RayJobStoppedError,
    RayJobSubmissionError,
    JobIdConflictError,
    RayClusterConflictError,
    RayClusterInvalidError,
    RayAuthenticationError,
    RayAddressError,
    PluginManifestError,
    ActionNotFoundError,
    ActionParamsError,
    FunctionSourceError,
)
"""The job itself can't succeed, or somebody stopped it, so the next try would end the same way."""


def is_worth_a_retry(error: BaseException) -> bool | None:
    """Return whether another try may end differently, None if that is not known.

    Also checks the causes of the error, because a task may have wrapped it.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, _WORTH_IT):
            return True
        if isinstance(seen, _IN_VAIN):
            return False
        seen = seen.__cause__
    return None


def fails_for_good_where_a_retry_is_in_vain(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make an operator's method respect the operator's ``retry_user_errors``."""

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except AirflowSynapseError as exc:
            if self.retry_user_errors or is_worth_a_retry(exc) is not False:
                raise
            raise AirflowFailException(str(exc)) from exc

    return call


class RayJobRetryPolicy(RetryPolicy):
    """Retries failures of the cluster, but not of the job's code, environment or params.

    Pass it as ``retry_policy=`` to tasks that submit Ray jobs, on Airflow 3.3 and newer. On older
    versions, use the operators' ``retry_user_errors=False``. The policy is not for sensors, because the
    job that a sensor waits for stays as it ended. Airflow's ``retries`` is still the limit. Errors that
    are not ours, and jobs that took too long, are retried as without a policy.

    :param retry_delay: How long to wait before a retry, instead of the task's own ``retry_delay``.
    :raises RuntimeError: on Airflow older than 3.3.
    """

    def __init__(self, retry_delay: timedelta | None = None) -> None:
        if RetryDecision is None:
            raise RuntimeError(
                "RayJobRetryPolicy needs Airflow 3.3. On this version, set the operator's "
                "retry_user_errors=False, which does the same."
            )
        self.retry_delay = retry_delay

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002  # Airflow's signature
        max_tries: int,  # noqa: ARG002
        context: Context | None = None,  # noqa: ARG002
    ) -> Any:
        """Return Airflow's ``RetryDecision``."""
        kind = type(exception).__name__
        verdict = is_worth_a_retry(exception)
        if verdict is None:
            return RetryDecision.default()
        if verdict:
            return RetryDecision.retry(
                delay=self.retry_delay, reason=f"{kind}: the cluster failed, not the job"
            )
        return RetryDecision.fail(reason=f"{kind}: another try would end the same way")

    def serialize(self) -> dict[str, Any]:
        """Return the data for :meth:`deserialize`."""
        return {"retry_delay": self.retry_delay.total_seconds() if self.retry_delay else None}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> RayJobRetryPolicy:
        """Return the policy that :meth:`serialize` turned into this data."""
        seconds = data.get("retry_delay")
        return cls(retry_delay=timedelta(seconds=seconds) if seconds is not None else None)
