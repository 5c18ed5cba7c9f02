"""What a job leaves is copied to where it outlives the job's node."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from airflow_synapse.action_runtime.copies.keeping import find_head
from airflow_synapse.action_runtime.copies.on_head import Shelf
from airflow_synapse.action_runtime.log_folder import JobPlace
from tests.action_runtime.conftest import JOB_ID, EndedJob, JobMaker

ELSEWHERE = "192.0.2.1:6379"
"""The address of a head that no machine has: it is reserved for documentation."""

RAYLET = """
from pathlib import Path

class GcsClient:
    store = Path(__file__).parent

    def __init__(self, address):
        assert address == "192.0.2.1:6379"

    def internal_kv_get(self, key, namespace, timeout):
        return (self.store / namespace.decode() / key.decode()).read_bytes()

    def internal_kv_put(self, key, value, overwrite, namespace, timeout):
        assert overwrite
        (self.store / namespace.decode() / key.decode()).write_bytes(value)
"""
"""Ray's client for the cluster's facts, with a folder in place of a cluster."""


@pytest.fixture
def make_job(tmp_path: Path) -> JobMaker:
    return JobMaker(tmp_path)


@pytest.fixture
def job_of_ray(make_job: JobMaker) -> Path:
    """Have a module ``ray`` for the copying process, and return where the cluster keeps the job."""
    ray = make_job.folder / "site" / "ray"
    (ray / "job").mkdir(parents=True)
    (ray / "__init__.py").touch()
    (ray / "_raylet.py").write_text(RAYLET)
    kept = ray / "job" / f"_ray_internal_job_info_{JOB_ID}"
    kept.write_text(json.dumps({"status": "RUNNING", "metadata": {"who": "me"}, "new": [1]}))
    return kept


def run_on_a_worker_node(make_job: JobMaker, value: str) -> EndedJob:
    path = os.pathsep.join([str(make_job.folder / "modules"), str(make_job.folder / "site")])
    env = {"PYTHONPATH": path, "RAY_ADDRESS": ELSEWHERE}
    return make_job.run(f"def run():\n    return {value}", env=env)


def test_small_result_is_copied_into_the_metadata(make_job: JobMaker, job_of_ray: Path) -> None:
    """It comes with every look at the job, and all else that Ray keeps of the job stays as it is."""
    job = run_on_a_worker_node(make_job, "{'loss': 0.5}")

    assert (job.exit_code, job.log) == (0, "")
    assert json.loads(job_of_ray.read_text()) == {
        "status": "RUNNING",
        "metadata": {"who": "me", "airflow_synapse_result": '{"result": {"loss": 0.5}}'},
        "new": [1],
    }


def test_job_on_the_head_copies_nothing(make_job: JobMaker, job_of_ray: Path) -> None:
    """Its files outlive nothing less than the cluster."""
    before = job_of_ray.read_text()

    job = make_job.run("def run():\n    return 1", env={"RAY_ADDRESS": "127.0.0.1:6379"})

    assert (job.exit_code, job.log) == (0, "")
    assert job_of_ray.read_text() == before


@pytest.mark.parametrize("size", [1, 5000])
def test_copy_that_fails_is_a_warning(make_job: JobMaker, job_of_ray: Path, size: int) -> None:
    """The work is done, so the exit code stays, and the result is where it always is."""
    job_of_ray.unlink()  # and this ray has no init, which a large result needs

    job = run_on_a_worker_node(make_job, f"'x' * {size}")

    assert job.exit_code == 0
    assert job.result == "x" * size
    assert "airflow-synapse: if this node leaves, these are lost, as they could not be" in job.log


def test_process_that_copies_is_not_the_job(tmp_path: Path) -> None:
    """It must not install the job's environment on the head, nor import the plugin's modules."""
    unpacked = "/tmp/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_1"
    path = os.pathsep.join([unpacked, str(tmp_path)])
    environ = {
        "RAY_ADDRESS": ELSEWHERE,
        "RAY_JOB_CONFIG_JSON_ENV_VAR": "{}",
        "PYTHONPATH": path,
        "RAY_AUTH_TOKEN": "t",
    }

    head = find_head(environ)

    assert head is not None
    assert head.environ == {
        "RAY_ADDRESS": ELSEWHERE,
        "PYTHONPATH": str(tmp_path),
        "RAY_AUTH_TOKEN": "t",
    }


@pytest.mark.parametrize("address", [None, "", "auto", "127.0.0.1:6379", "[::1]:6379", "nowhere"])
def test_without_another_node_as_head_there_are_no_copies(address: str | None) -> None:
    """Also outside a cluster."""
    assert find_head({} if address is None else {"RAY_ADDRESS": address}) is None


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A shelf in this process; Ray would say where the head's log folder is."""
    shelf = Shelf.__new__(Shelf)
    shelf._logs, shelf._mode, shelf._part = tmp_path, 0o640, None
    return shelf


def test_file_arrives_on_the_head(shelf: Shelf, tmp_path: Path) -> None:
    """In parts, with the rights that it had, and under its name only once it is whole."""
    shelf.begin("result.json")
    shelf.add(b"1")
    before = [path.name for path in tmp_path.glob("[!.]*")]
    shelf.add(b"2")
    shelf.end()

    assert before == []
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert (tmp_path / "result.json").read_bytes() == b"12"
    assert (tmp_path / "result.json").stat().st_mode & 0o777 == 0o640


def test_what_has_a_file_s_name_on_the_head_is_neither_followed_nor_lost(
    shelf: Shelf, tmp_path: Path
) -> None:
    """Everybody on the head may write to its log folder."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "result.json").symlink_to(victim)

    shelf.begin("../result.json")
    shelf.add(b"1")
    shelf.end()

    assert victim.read_text() == "precious"
    assert (tmp_path / "result.json").read_bytes() == b"1"
    assert [path.is_symlink() for path in tmp_path.glob("airflow-synapse-aside-*")] == [True]


def test_copy_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job ends all the same, with a warning."""
    head = find_head({"RAY_ADDRESS": ELSEWHERE})
    assert head is not None
    monkeypatch.setattr("airflow_synapse.action_runtime.copies.keeping.PATIENCE", 0.0)

    (warning,) = head.keep(JobPlace("j", tmp_path), files=[tmp_path / "report.jsonl"])

    assert "report.jsonl (it took longer than 0 s)" in warning
