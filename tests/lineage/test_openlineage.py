"""OpenLineage is told of the job, and the job of the run that it belongs to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.openlineage.extractors.base import DefaultExtractor
from airflow.providers.openlineage.plugins import macros
from openlineage.client.serde import Serde

from airflow_synapse.exceptions import (
    AirflowSynapseError,
    RayJobEntrypointError,
    RayJobTimeoutError,
)
from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator
from airflow_synapse.rayjobs.job.results import result_file
from airflow_synapse.sensors.ray_job import RayJobSensor
from airflow_synapse.version_compat import TaskDeferralError
from tests.lineage.running import TaskInstanceOfRun
from tests.operators.running import a_command, deferred, messages, run, runtime_env_of
from tests.operators.task_instance import TaskInstance
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER

PARENT, ROOT = "OPENLINEAGE_PARENT_ID", "OPENLINEAGE_ROOT_PARENT_ID"


@pytest.fixture
def enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenLineage is on, as it is wherever it has a transport."""
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", '{"type": "console"}')
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__NAMESPACE", "here")


def told(operator: Any, ti: TaskInstance, *, failed: bool = False) -> dict[str, Any]:
    """Return the run facets that OpenLineage's provider would send, as it sends them."""
    extractor = DefaultExtractor(operator)
    lineage = extractor.extract_on_failure(ti) if failed else extractor.extract_on_complete(ti)
    if lineage is None:
        return {}
    return {name: json.loads(Serde.to_json(facet)) for name, facet in lineage.run_facets.items()}


def facts_in(facets: dict[str, Any]) -> dict[str, Any]:
    facet = facets["airflowSynapse_rayJob"]
    return {name: value for name, value in facet.items() if not name.startswith("_")}


def env_of(stub: StubDashboard) -> dict[str, str]:
    (job,) = stub.jobs.values()
    env: dict[str, str] = runtime_env_of(job.request).get("env_vars", {})
    return env


def test_facet_tells_of_the_job(stub: StubDashboard, ti: TaskInstance, plugin: Path) -> None:
    """Job, cluster, page, plugin, action, status and duration; nothing of its environment."""
    operator = SubmitPluginActionOperator(
        task_id="task",
        action_name="run",
        working_dir=plugin,
        job_id="j",
        poll_interval=0.05,
        env={"TOKEN": "s3cret"},
    )
    stub.files[result_file("j")] = b'{"result": 1}'
    run(operator, ti)

    facets = told(operator, ti)

    facts = facts_in(facets)
    assert facts.pop("duration") >= 0
    assert facts == {
        "jobId": "j",
        "cluster": stub.url,
        "dashboardUrl": f"{stub.url}/#/jobs/j",
        "status": "SUCCEEDED",
        "plugin": "p",
        "action": "run",
    }
    assert facets["externalQuery"]["externalQueryId"] == "j"
    assert facets["externalQuery"]["source"] == stub.url
    assert "s3cret" not in json.dumps(facets)


def test_failed_job_is_told_of(stub: StubDashboard, ti: TaskInstance) -> None:
    """A failure has its job, too."""
    stub.script(status="FAILED", exit_code=3)
    operator = a_command()
    with pytest.raises(RayJobEntrypointError):
        run(operator, ti)

    assert facts_in(told(operator, ti, failed=True))["status"] == "FAILED"


def test_job_that_took_too_long_is_told_of(stub: StubDashboard, ti: TaskInstance) -> None:
    """Nobody saw it end, so there is no status, but a job."""
    stub.script(runtime=NEVER, stop_delay=0.1)
    operator = a_command(job_timeout=0.3)
    with pytest.raises(RayJobTimeoutError):
        run(operator, ti)

    facts = facts_in(told(operator, ti, failed=True))

    assert facts["jobId"] == ti.xcoms["job_id"]
    assert "status" not in facts


def test_task_without_a_job_tells_nothing(ti: TaskInstance) -> None:
    """A task that failed before there was a job has no facet."""
    assert told(a_command(), ti, failed=True) == {}


def test_task_that_does_not_wait_tells_what_it_submitted(
    stub: StubDashboard, ti: TaskInstance
) -> None:
    """There is no end yet, but a job."""
    stub.script(runtime=NEVER)
    operator = a_command(wait_for_completion=False)
    run(operator, ti)

    facts = facts_in(told(operator, ti))

    assert facts["jobId"] == ti.xcoms["job_id"]
    assert facts["status"] == "PENDING"


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED"])
def test_facts_are_known_after_a_deferral(ti: TaskInstance, status: str) -> None:
    """Another instance of the operator, in another process, knows the job from the event."""
    event = {"status": status, "job_id": "j", "cluster": "http://ray:8265", "plugin": "p 1"}
    operator = a_command()
    try:
        operator.execute_complete({"ti": ti}, event)  # type: ignore[typeddict-item]
    except AirflowSynapseError:
        assert status == "FAILED"

    facts = facts_in(told(operator, ti, failed=status == "FAILED"))

    assert facts == {"jobId": "j", "cluster": "http://ray:8265", "status": status, "plugin": "p 1"}


def test_broken_trigger_leaves_the_id(stub: StubDashboard) -> None:
    """Without an event, there is still the id that was kept before the deferral."""
    ti = TaskInstance(max_tries=1, xcoms={"job_id": "j"})
    operator = a_command(retries=1)
    with pytest.raises(TaskDeferralError):
        operator.resume_execution(
            "__fail__", {"error": "Trigger failure", "traceback": None}, {"ti": ti}
        )  # type: ignore[typeddict-item]

    assert facts_in(told(operator, ti, failed=True)) == {"jobId": "j"}


def test_sensor_tells_of_the_job_it_waited_for(stub: StubDashboard, ti: TaskInstance) -> None:
    """A job that something else submitted is told of by the sensor."""
    stub.add_job("j")
    sensor = RayJobSensor(task_id="sense", job_id="j", poke_interval=0.05)
    sensor.execute({"ti": ti})  # type: ignore[typeddict-item]

    facts = facts_in(told(sensor, ti))

    assert (facts["jobId"], facts["status"]) == ("j", "SUCCEEDED")


def test_job_knows_the_run_of_its_task(stub: StubDashboard, enabled: None) -> None:
    """Clients of OpenLineage in the job find their parent in its environment, beside the user's."""
    ti = TaskInstanceOfRun()

    run(a_command(env={"MINE": "1"}, wait_for_completion=False), ti)

    parent = macros.lineage_parent_id(ti)
    assert parent.startswith("here/dag.task/")
    assert env_of(stub) == {
        "MINE": "1",
        PARENT: parent,
        ROOT: macros.lineage_root_parent_id(ti),
    }


def test_job_is_told_nothing_where_nobody_wants_that(stub: StubDashboard, enabled: None) -> None:
    """A task can keep its job's environment free of OpenLineage."""
    operator = a_command(openlineage_inject_parent_job_info=False, wait_for_completion=False)

    run(operator, TaskInstanceOfRun())

    assert env_of(stub) == {}


@pytest.mark.parametrize("name", [PARENT, ROOT, "OPENLINEAGE_CONTEXT"])
@pytest.mark.parametrize("place", ["env", "runtime_env"])
def test_parent_that_the_user_names_stays(
    stub: StubDashboard, enabled: None, name: str, place: str
) -> None:
    """One variable of these, and none of ours is added."""
    env = {name: "theirs/job/run"}
    given: Any = {"env": env} if place == "env" else {"runtime_env": {"env_vars": env}}

    run(a_command(wait_for_completion=False, **given), TaskInstanceOfRun())

    assert env_of(stub) == env


@pytest.mark.parametrize("disabled", [True, False])
def test_job_is_told_nothing_where_openlineage_is_off(
    stub: StubDashboard, monkeypatch: pytest.MonkeyPatch, disabled: bool
) -> None:
    """Off by configuration, or for want of a transport."""
    if disabled:
        monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", '{"type": "console"}')
        monkeypatch.setenv("AIRFLOW__OPENLINEAGE__DISABLED", "True")

    run(a_command(wait_for_completion=False), TaskInstanceOfRun())

    assert env_of(stub) == {}


def test_job_is_submitted_even_if_openlineage_breaks(
    stub: StubDashboard, enabled: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Lineage that can't be told costs a line, no job."""
    run(a_command(wait_for_completion=False), TaskInstance())  # which knows no DAG run

    assert env_of(stub) == {}
    assert any("The job won't know its parent run" in text for text in messages(caplog))


@pytest.mark.parametrize("job_id", [None, "mine"])
def test_next_try_takes_the_job_over_all_the_same(
    stub: StubDashboard, enabled: None, job_id: str | None
) -> None:
    """Each try has a run of its own in OpenLineage, and one job: with the run that submitted it."""
    first, second = TaskInstanceOfRun(max_tries=1), TaskInstanceOfRun(try_number=2, max_tries=1)
    stub.script(runtime=0.2)
    run(a_command(retries=1, wait_for_completion=False, job_id=job_id), first)

    taking_over = a_command(retries=1, job_id=job_id)
    run(taking_over, second)

    assert macros.lineage_parent_id(first) != macros.lineage_parent_id(second)
    assert list(stub.jobs) == [first.xcoms["job_id"]] == [second.xcoms["job_id"]]
    assert env_of(stub)[PARENT] == macros.lineage_parent_id(first)
    facts = facts_in(told(taking_over, second))
    assert (facts["jobId"], facts["status"]) == (first.xcoms["job_id"], "SUCCEEDED")


def test_submission_of_the_next_try_meets_the_first_one_s(
    stub: StubDashboard, enabled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that arrives after the next try has looked for it counts as that try's own."""
    first, second = TaskInstanceOfRun(max_tries=1), TaskInstanceOfRun(try_number=2, max_tries=1)
    stub.script(runtime=NEVER)
    run(a_command(retries=1, wait_for_completion=False), first)
    monkeypatch.setattr(
        "airflow_synapse.rayjobs.base_executor.BaseRayExecutor.find_info", lambda *_: None
    )

    run(a_command(retries=1, wait_for_completion=False), second)

    assert list(stub.jobs) == [second.xcoms["job_id"]]


def test_deferred_task_submits_with_its_run(stub: StubDashboard, enabled: None) -> None:
    """Where the task waits makes no difference."""
    deferred(a_command(deferrable=True), TaskInstanceOfRun())

    assert PARENT in env_of(stub)


_WITHOUT_PROVIDER = """
import sys
import airflow.sdk  # which asks every installed provider for its info

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("openlineage", "airflow.providers.openlineage")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in [name for name in sys.modules if "openlineage" in name]:
    del sys.modules[name]
vars(sys.modules["airflow.providers"]).pop("openlineage", None)
sys.meta_path.insert(0, Blocker())
from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator
from airflow_synapse.operators.ray_job import SubmitRayJobOperator
from airflow_synapse.sensors.ray_job import RayJobSensor
from tests.operators.task_instance import TaskInstance

operator = SubmitRayJobOperator(task_id="task", entrypoint="true", poll_interval=0.05)
operator.execute({"ti": TaskInstance()})
assert not any("openlineage" in name.replace("lineage.openlineage", "") for name in sys.modules)
print("ran", operator._facts.status)
"""


def test_nothing_is_missed_where_the_provider_is_not_installed(
    stub: StubDashboard, enabled: None
) -> None:
    """Operators import and run without OpenLineage, even if it is configured."""
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_PROVIDER],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )

    assert done.stdout.splitlines()[-1:] == ["ran SUCCEEDED"], done.stderr
    assert env_of(stub) == {}
