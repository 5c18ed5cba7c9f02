"""What a job is to run, and what a cluster tells about it."""

from __future__ import annotations

import pytest

from airflow_synapse.rayjobs.models import OWNER_KEY, SPEC_KEY, JobInfo, JobSpec, RayCluster


def test_fingerprint_is_of_what_runs() -> None:
    """Order and description don't count; command, environment and resources do."""
    spec = JobSpec("run", {"a": 1, "b": 2}, {"who": "me"}, {"entrypoint_num_cpus": 1})
    same = JobSpec("run", {"b": 2, "a": 1}, {"who": "you"}, {"entrypoint_num_cpus": 1})
    others = [
        JobSpec("run it", spec.runtime_env, {}, spec.resources),
        JobSpec("run", {"a": 1}, {}, spec.resources),
        JobSpec("run", spec.runtime_env, {}, {}),
    ]

    assert same.fingerprint == spec.fingerprint
    assert len({spec.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_job_is_its_spec_s_if_the_fingerprint_is_the_same() -> None:
    """Without an owner, the same command makes the same job."""
    spec = JobSpec("run")

    assert spec.is_run_by(JobInfo("j", "RUNNING", metadata={SPEC_KEY: spec.fingerprint}))
    assert not spec.is_run_by(JobInfo("j", "RUNNING", metadata={SPEC_KEY: "other"}))
    assert not spec.is_run_by(JobInfo("j", "RUNNING"))


def test_job_of_an_owner_is_the_owner_s_whatever_it_runs() -> None:
    """With an owner, a changed command still finds the job of an earlier try."""
    spec = JobSpec("run", metadata={OWNER_KEY: "task"})

    assert spec.is_run_by(JobInfo("j", "RUNNING", metadata={OWNER_KEY: "task"}))
    assert not spec.is_run_by(
        JobInfo("j", "RUNNING", metadata={OWNER_KEY: "other", SPEC_KEY: spec.fingerprint})
    )


def test_answer_of_the_api_becomes_job_info() -> None:
    """Fields that Ray leaves out or null are None or empty."""
    info = JobInfo.from_api({"submission_id": "j", "status": "PENDING", "metadata": None})

    assert info == JobInfo("j", "PENDING")
    assert not info.is_terminal


@pytest.mark.parametrize("details", [{}, {"status": None}, {"status": "DONE"}])
def test_answer_without_a_known_status_is_refused(details: dict[str, object]) -> None:
    """Something that answers JSON need not be Ray."""
    with pytest.raises(ValueError, match="job status"):
        JobInfo.from_api(details)


def test_secrets_stay_out_of_a_cluster_s_repr() -> None:
    """Token, headers and cookies are not shown where a cluster is printed."""
    cluster = RayCluster(
        "http://head:8265",
        token="s3cret-1",
        headers={"X-Key": "s3cret-2"},
        cookies={"session": "s3cret-3"},
    )

    assert "s3cret" not in repr(cluster)


def test_env_stays_out_of_a_spec_s_repr() -> None:
    """The environment of a job may hold secrets, so its spec does not show it."""
    assert "s3cret" not in repr(JobSpec("run", {"env_vars": {"KEY": "s3cret"}}))
