"""What is told of a job is plain, and holds no secret."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_synapse.handover.events import event_of, outcome_of
from airflow_synapse.handover.job_facts import JobFacts
from airflow_synapse.rayjobs.job.outcome import Outcome
from airflow_synapse.rayjobs.models import ACTION_KEY, PLUGIN_KEY, JobInfo

INFO = JobInfo(
    "j",
    "SUCCEEDED",
    message="secret text",
    start_time=1_000,
    end_time=3_500,
    entrypoint="curl --token secret",
    metadata={ACTION_KEY: "train", PLUGIN_KEY: "digits 1.2", "note": "secret"},
)


def test_facts_are_those_of_the_job() -> None:
    """Id, place, status, plugin, action and duration; neither entrypoint nor message nor metadata."""
    facts = JobFacts.of(INFO, cluster="http://ray:8265", page="http://ray:8265/#/jobs/j")

    assert json.loads(json.dumps(facts.as_json())) == {
        "job_id": "j",
        "cluster": "http://ray:8265",
        "dashboard_url": "http://ray:8265/#/jobs/j",
        "status": "SUCCEEDED",
        "plugin": "digits 1.2",
        "action": "train",
        "duration": 2.5,
    }


def test_facts_pass_through_an_event() -> None:
    """A new process learns from the event what the triggerer knew."""
    page = "http://ray:8265/#/jobs/j"
    outcome = Outcome("j", "http://ray:8265", INFO, page=page)
    event = json.loads(json.dumps(event_of(outcome)))

    assert JobFacts.of_outcome(outcome_of(event)) == JobFacts.of(
        INFO, cluster="http://ray:8265", page=page
    )


def test_credentials_in_a_url_are_left_out() -> None:
    """Somebody may have written them into the address of the dashboard."""
    page = "https://me:s3cret@ray.example.com:8443/x/#/jobs/j"

    facts = JobFacts.of(INFO, cluster="https://me@ray", page=page)

    assert facts.page == "https://ray.example.com:8443/x/#/jobs/j"
    assert facts.cluster == "https://ray"


@pytest.mark.parametrize(
    ("start_time", "end_time", "duration"), [(None, 5, None), (5, None, None), (9, 5, 0.0)]
)
def test_duration_is_told_where_the_cluster_knows_it(
    start_time: Any, end_time: Any, duration: Any
) -> None:
    """An unknown time makes no duration, and clocks that differ make no negative one."""
    info = JobInfo("j", "FAILED", start_time=start_time, end_time=end_time)

    assert JobFacts.of(info).as_json().get("duration") == duration


@pytest.mark.parametrize("event", [None, "done", {}, {"status": "SUCCEEDED"}, {"job_id": ""}])
def test_event_of_no_job_has_no_facts(event: Any) -> None:
    """What is none of our events tells nothing."""
    assert JobFacts.of_outcome(outcome_of(event)) is None


def test_event_of_an_older_triggerer_is_enough() -> None:
    """An event from before an upgrade has less in it."""
    event = {"status": "SUCCEEDED", "job_id": "j", "cluster": "http://ray:8265", "duration": 2.5}

    assert JobFacts.of_outcome(outcome_of(event)) == JobFacts(
        "j", cluster="http://ray:8265", status="SUCCEEDED", duration=2.5
    )
