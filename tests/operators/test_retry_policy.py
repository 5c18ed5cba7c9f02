"""Which failures get another try."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_synapse import exceptions
from airflow_synapse.exceptions import (
    ActionParamsError,
    AirflowSynapseError,
    RayAuthenticationError,
    RayClusterUnreachableError,
    RayJobEntrypointError,
    RayJobInfrastructureError,
    RayJobNotFoundError,
    RayJobNotScheduledError,
    RayJobRuntimeEnvError,
    RayJobTimeoutError,
)
from airflow_synapse.operators import retry_policy
from airflow_synapse.operators.retry_policy import RayJobRetryPolicy, is_worth_a_retry
from airflow_synapse.version_compat import AirflowFailException
from airflow_synapse.version_compat.dag_files import RetryDecision
from tests.operators.running import a_command, run
from tests.operators.task_instance import TaskInstance
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import runtime_env_failure

needs_policies = pytest.mark.skipif(RetryDecision is None, reason="needs Airflow 3.3")

CLUSTER = [
    RayJobInfrastructureError(),
    RayJobNotScheduledError(),
    RayJobNotFoundError(job_id="j"),
    RayClusterUnreachableError(cluster="http://head", reason="it hangs"),
]
USER = [
    RayJobEntrypointError(),
    RayJobRuntimeEnvError(),
    RayAuthenticationError(cluster="http://head", http_status=401),
    ActionParamsError(problems={"params.lr": "is no number"}),
]


def error_classes() -> list[type[AirflowSynapseError]]:
    found = [value for value in vars(exceptions).values() if isinstance(value, type)]
    return [kind for kind in found if issubclass(kind, AirflowSynapseError)]


def test_each_error_has_a_place() -> None:
    """Of each concrete error it is decided whether it is worth a retry; of a limit it can't be."""
    placed = (*retry_policy._WORTH_IT, *retry_policy._IN_VAIN)
    unplaced = {kind.__name__ for kind in error_classes() if not issubclass(kind, placed)}

    assert unplaced == {
        "AirflowSynapseError",
        "ExecutionError",
        "RayJobFailedError",
        "RayJobTimeoutError",
        "RayLogNotFoundError",
    }


@pytest.mark.parametrize("error", CLUSTER, ids=lambda error: type(error).__name__)
def test_what_the_cluster_did_is_retried(error: Exception) -> None:
    """The same job may succeed the next time."""
    assert is_worth_a_retry(error) is True


@pytest.mark.parametrize("error", USER, ids=lambda error: type(error).__name__)
def test_what_the_user_did_is_not(error: Exception) -> None:
    """The next try would end the same way, after hours maybe."""
    assert is_worth_a_retry(error) is False


def test_cause_counts_where_an_error_was_wrapped() -> None:
    """A task that raises its own error from ours is treated like ours."""
    wrapped = ValueError("the training failed")
    wrapped.__cause__ = RayJobEntrypointError()

    assert is_worth_a_retry(wrapped) is False
    assert is_worth_a_retry(ValueError()) is None
    assert is_worth_a_retry(RayJobTimeoutError()) is None


@needs_policies
def test_policy_decides_in_airflow_s_terms() -> None:
    """Retry with the policy's delay, fail, or leave it to Airflow; each with a reason for the UI."""
    from airflow.sdk.definitions.retry_policy import RetryAction

    policy = RayJobRetryPolicy(retry_delay=timedelta(minutes=2))

    again = policy.evaluate(CLUSTER[0], 1, 3)
    assert (again.action, again.retry_delay) == (RetryAction.RETRY, timedelta(minutes=2))
    assert "RayJobInfrastructureError" in again.reason
    never = policy.evaluate(USER[0], 1, 3)
    assert never.action is RetryAction.FAIL
    assert "RayJobEntrypointError" in never.reason
    assert policy.evaluate(KeyError("x"), 1, 3).action is RetryAction.DEFAULT


@needs_policies
def test_policy_survives_serialization() -> None:
    """What a DAG is stored as holds the policy's delay."""
    for delay in (None, timedelta(seconds=90)):
        data = RayJobRetryPolicy(delay).serialize()
        assert RayJobRetryPolicy.deserialize(data).retry_delay == delay


def test_old_airflow_is_told_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Airflow's policies the error names the argument that means the same."""
    monkeypatch.setattr(retry_policy, "RetryDecision", None)

    with pytest.raises(RuntimeError, match="retry_user_errors=False"):
        RayJobRetryPolicy()


@pytest.mark.parametrize(
    "script",
    [{"status": "FAILED"}, vars(runtime_env_failure("no such package"))],
    ids=["entrypoint", "runtime_env"],
)
def test_argument_ends_a_task_without_a_retry(stub: StubDashboard, script: dict) -> None:
    """``retry_user_errors=False`` fails for good, with the same text."""
    stub.script(**script)

    with pytest.raises(AirflowFailException, match="FAILED") as caught:
        run(a_command(retries=3, retry_user_errors=False), TaskInstance(max_tries=3))

    assert isinstance(caught.value.__cause__, (RayJobEntrypointError, RayJobRuntimeEnvError))


def test_argument_leaves_the_cluster_s_failures_to_airflow(stub: StubDashboard) -> None:
    """What the cluster did is raised as it is, so that ``retries`` hold."""
    stub.script(status="FAILED", error_type="JOB_SUPERVISOR_ACTOR_DIED")

    with pytest.raises(RayJobInfrastructureError):
        run(a_command(retries=3, retry_user_errors=False), TaskInstance(max_tries=3))
