"""The storage of a job: its path, and what is read there when the cluster has lost it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from airflow_synapse.exceptions import ExecutionError
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.job.report_lines import Progress
from airflow_synapse.rayjobs.job.storage import component, storage_path, storage_vars
from tests.support import stub_jobs
from tests.support.stub_dashboard import StubDashboard

TASK = {
    "airflow_dag_id": "train",
    "airflow_run_id": "scheduled__2026-01-01T00:00:00+00:00",
    "airflow_task_id": "group.fit",
    "airflow_map_index": "-1",
    "airflow_max_tries": "2",
    "airflow_retries": "2",
}
FIT = "train/scheduled__2026-01-01T00:00:00+00:00/group.fit"


def path(**changed: str) -> str:
    return storage_path("/mnt/", job_id="j", metadata={**TASK, **changed})


def test_tries_of_a_task_share_a_path_and_a_clear_makes_a_new_one() -> None:
    """A retry changes no ``max_tries``, nor does an edit of ``retries``."""
    assert path() == path(airflow_retries="5", airflow_try_number="2") == f"/mnt/{FIT}/2"
    assert path(airflow_max_tries="4") == f"/mnt/{FIT}/4"
    assert path(airflow_map_index="7") == f"/mnt/{FIT}/7/2"


def test_job_of_an_executor_has_a_path_of_its_own() -> None:
    """By its submission ID, in a folder or under a URI."""
    assert (
        storage_path("s3://bucket/x", job_id="a.1", metadata={"who": "me"}) == "s3://bucket/x/a.1"
    )


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\\b", "a?b", "a#b", "a%2fb", "a\nb"])
def test_no_name_leads_out_of_the_path(name: str) -> None:
    """Nor to the same path as another name."""
    safe = component(name)

    assert not set("/\\?#%\n") & set(safe)
    assert safe not in ("", ".", "..", component("a_b"))


def test_earlier_paths_are_told_only_after_a_clear() -> None:
    """Newest first. The job looks which of them are there."""
    assert list(storage_vars("/mnt", job_id="j", metadata=TASK)) == ["AIRFLOW_SYNAPSE_STORAGE_PATH"]
    told = storage_vars("/mnt", job_id="j", metadata={**TASK, "airflow_max_tries": "3"})
    earlier = json.loads(told["AIRFLOW_SYNAPSE_EARLIER_STORAGE_PATHS"])
    assert earlier == [f"/mnt/{FIT}/{n}" for n in (2, 1, 0)]
    assert told["AIRFLOW_SYNAPSE_STORAGE_PATH"] == f"/mnt/{FIT}/3"


def env_of(stub: StubDashboard, job_id: str) -> Any:
    return stub.jobs[job_id].request["runtime_env"]["env_vars"]


def test_job_is_told_its_path_unless_the_caller_tells_it(stub_dashboard: StubDashboard) -> None:
    """And submitting it again is the same job."""
    executor = RayJobExecutor(stub_dashboard.url, storage_path="/mnt")
    for _ in range(2):
        executor.submit_entrypoint("true", job_id="j")
    own = RayJobExecutor(
        stub_dashboard.url, storage_path="/mnt", env={"AIRFLOW_SYNAPSE_STORAGE_PATH": "/mine"}
    )
    own.submit_entrypoint("true", job_id="k")

    assert env_of(stub_dashboard, "j") == {"AIRFLOW_SYNAPSE_STORAGE_PATH": "/mnt/j"}
    assert env_of(stub_dashboard, "k") == {"AIRFLOW_SYNAPSE_STORAGE_PATH": "/mine"}


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_copies_are_read_when_the_node_is_gone(
    stub_dashboard: StubDashboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    """The result, the report and its artifacts, from a folder or a URI."""
    monkeypatch.setattr(stub_jobs, "NODE_ID", "ff" * 28)  # which the stub's routes don't know
    stub_dashboard.add_job("j")
    copies = tmp_path / "j.airflow-synapse"
    copies.mkdir()
    (copies / "airflow-synapse-result-j.json").write_text('{"result": 5}')
    (copies / "airflow-synapse-artifact-j-0123456789abcdef").write_bytes(b"123")
    (copies / "airflow-synapse-report-j.jsonl").write_text(
        '{"progress": "", "done": 1}\n{"artifact": "a", "media_type": "x/y", "size": 3, '
        '"file": "0123456789abcdef"}\n'
    )
    executor = RayJobExecutor(stub_dashboard.url, storage_path=f"{prefix}{tmp_path}")

    assert executor.get_result("j") == 5
    assert executor.get_report("j").progress == {"": Progress(1)}
    assert executor.get_artifact("j", "a") == b"123"
    with pytest.raises(ExecutionError, match="has no result"):
        RayJobExecutor(stub_dashboard.url, storage_path=tmp_path / "other").get_result("j")


@pytest.mark.parametrize("prefix", ["", "file://"])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_plain_files_are_read(
    stub_dashboard: StubDashboard,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prefix: str,
    kind: str,
) -> None:
    """The job can write to its storage: a link must not lead to a file of Airflow's, and a pipe holds nobody."""
    monkeypatch.setattr(stub_jobs, "NODE_ID", "ff" * 28)
    stub_dashboard.add_job("j")
    copies = tmp_path / "j.airflow-synapse"
    copies.mkdir()
    secret = tmp_path / "airflow.cfg"
    secret.write_text('{"result": "secret"}')
    place = copies / "airflow-synapse-result-j.json"
    {
        "link": lambda: place.symlink_to(secret),
        "pipe": lambda: os.mkfifo(place),
        "folder": place.mkdir,
    }[kind]()

    with pytest.raises(ExecutionError, match="has no result"):
        RayJobExecutor(stub_dashboard.url, storage_path=f"{prefix}{tmp_path}").get_result("j")
