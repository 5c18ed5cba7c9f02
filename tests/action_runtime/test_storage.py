"""What a job leaves in its storage, which outlives the cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_synapse.action_runtime.copies import storage
from airflow_synapse.action_runtime.copies.storage import Storage, existing
from tests.action_runtime.conftest import JOB_ID

CODE = """
import os
def run(job):
    job.progress(1, 2)
    job.artifact("a.txt", b"text")
    open(os.path.join(job.storage_path, "epoch-1"), "w").close()
    %s
    return os.listdir(job.storage_path)
"""


@pytest.mark.parametrize("fails", ["", "raise ValueError"])
def test_copies_lie_beside_the_folder_of_the_action(run_job, tmp_path: Path, fails: str) -> None:
    """It finds only its own files there, and also a job that failed leaves its report."""
    path = tmp_path / "shared/a b:+/1"

    job = run_job(CODE % fails, env={"AIRFLOW_SYNAPSE_STORAGE_PATH": f"{path}/"})

    copies = Path(f"{path}.airflow-synapse")
    names = sorted(file.name for file in copies.iterdir())
    assert names[0].startswith(f"airflow-synapse-artifact-{JOB_ID}-")
    assert names[1] == f"airflow-synapse-report-{JOB_ID}.jsonl"
    if fails:
        assert len(names) == 2
    else:
        assert json.loads((copies / names[2]).read_text()) == {"result": job.result}
        assert job.result == ["epoch-1"]


def test_storage_that_can_not_be_made_is_a_warning(run_job, tmp_path: Path) -> None:
    """The exit code does not change."""
    (tmp_path / "file").touch()

    job = run_job("def run(): return 1", env={"AIRFLOW_SYNAPSE_STORAGE_PATH": f"{tmp_path}/file/1"})

    assert (job.exit_code, job.result) == (0, 1)
    assert "airflow-synapse: the storage_path can't be made on this node: " in job.log
    assert "airflow-synapse: copies in " in job.log


FSSPEC = """
import os
from os.path import dirname
class System:
    def _parent(self, path): return dirname(path)
    def makedirs(self, path, exist_ok): os.makedirs(path, exist_ok=exist_ok)
    def open(self, path, mode): return open(path, mode)
    def exists(self, path): return os.path.exists(path)
def url_to_fs(uri):
    if not uri.startswith("mem://"): raise ValueError("no such protocol")
    return System(), uri[6:]
"""
PYARROW = """
import os
class _Info:
    def __init__(self, path): self.type = self; self.name = "File" if os.path.exists(path) else "NotFound"
class FileSystem:
    @classmethod
    def from_uri(cls, uri): return cls(), uri[6:]
    def create_dir(self, path, recursive): os.makedirs(path, exist_ok=True)
    def open_output_stream(self, path): return open(path, "wb")
    def get_file_info(self, path): return _Info(path)
"""
LIBRARIES = {
    "fsspec": {"fsspec/__init__.py": "", "fsspec/core.py": FSSPEC},
    "pyarrow": {"pyarrow/__init__.py": "", "pyarrow/fs.py": PYARROW},
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_uri_needs_one_of_two_libraries(run_job, tmp_path: Path, library: str) -> None:
    """Whichever the job has."""
    uri, earlier = f"mem://{tmp_path}/bucket/1", f"mem://{tmp_path}/bucket/0"
    (tmp_path / "bucket/0").mkdir(parents=True)
    env = {
        "AIRFLOW_SYNAPSE_STORAGE_PATH": uri,
        "AIRFLOW_SYNAPSE_EARLIER_STORAGE_PATHS": json.dumps([f"{uri}/none", earlier]),
    }

    job = run_job(
        "def run(job): return job.storage_path, job.earlier_storage_paths",
        env=env,
        files=LIBRARIES[library],
    )

    assert (job.log, job.result) == ("", [uri, [earlier]])
    copy = tmp_path / f"bucket/1.airflow-synapse/airflow-synapse-result-{JOB_ID}.json"
    assert json.loads(copy.read_text()) == {"result": job.result}


def test_without_them_there_is_one_warning(run_job) -> None:
    """And the job succeeds."""
    broken = {"fsspec.py": "raise ImportError('no')", "pyarrow.py": "raise ImportError('no')"}

    job = run_job(
        "def run(job): job.progress(1); return 1",
        env={"AIRFLOW_SYNAPSE_STORAGE_PATH": "s3://bucket/1"},
        files=broken,
    )

    assert (job.exit_code, job.result) == (0, 1)
    assert job.log.count("airflow-synapse: ") == 1
    assert "neither fsspec nor pyarrow could write there" in job.log


def test_report_is_copied_while_it_grows(tmp_path: Path, monkeypatch) -> None:
    """So what a job reported outlives its node even if that dies before the job's end."""
    monkeypatch.setattr(storage, "_EVERY", 0.01)
    monkeypatch.setattr(storage, "_SPARED", 0)
    told: list[str] = []
    kept, file = Storage(str(tmp_path / "1"), 0o644, told.append), tmp_path / "report"
    kept.keep_up(lambda: [file, tmp_path / "replaced meanwhile"])
    copy = tmp_path / "1.airflow-synapse/report"
    for text in ("a", "ab"):
        file.write_text(text)
        while not copy.exists() or copy.read_text() != text:
            pass
    file.write_text("abc")

    kept.keep([file])

    assert (copy.read_text(), told) == ("abc", [])


def test_storage_that_hangs_is_given_up(tmp_path: Path, monkeypatch) -> None:
    """After a minute, with a warning."""
    monkeypatch.setattr(storage, "PATIENCE", 0.01)
    monkeypatch.setattr(storage, "_copy", lambda *_: hang.wait(10))
    hang = storage.threading.Event()
    told: list[str] = []
    file = tmp_path / "report"
    file.touch()

    Storage(str(tmp_path / "1"), 0o644, told.append).keep([file])

    hang.set()
    assert len(told) == 1
    assert "took longer than 0.01 s" in told[0]


def test_only_folders_that_are_there_exist(tmp_path: Path) -> None:
    """Of URIs that nobody can look at, none."""
    assert existing([str(tmp_path), f"{tmp_path}/no", f"file://{tmp_path}", "nope://x"]) == (
        str(tmp_path),
        f"file://{tmp_path}",
    )


def test_link_in_the_place_of_a_report_is_not_followed(tmp_path: Path) -> None:
    """Others can write to the log folder, and the copy may be readable to more people than the file."""
    secret, link = tmp_path / "secret", tmp_path / "airflow-synapse-report-j.jsonl"
    secret.write_text("secret")
    link.symlink_to(secret)
    told: list[str] = []

    Storage(str(tmp_path / "storage"), 0o644, told.append).keep([link])

    assert not (tmp_path / "storage.airflow-synapse" / link.name).exists()
    assert "copies in" in told[0]
