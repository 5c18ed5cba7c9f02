"""Jobs in a process of this machine: the code that a job runs on a cluster, without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from airflow_synapse.exceptions import (
    ActionNotFoundError,
    LocalRunFailedError,
    RayJobFailedError,
    RayJobSubmissionError,
)
from airflow_synapse.local.running import run_locally
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.testing import JobContext, run_action

Plugin = Callable[[str], Path]


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    """``plugin(code)`` makes a plugin whose action ``run`` is the function ``run`` of that code."""

    def make(code: str, files: Mapping[str, str] = {}) -> Path:  # not changed
        folder = tmp_path / "plugin"
        folder.mkdir()
        (folder / "config.yaml").write_text("name: p\nactions: {run: {entrypoint: 'm:run'}}\n")
        (folder / "m.py").write_text(code)
        for name, text in files.items():
            (folder / name).write_text(text)
        return folder

    return make


def test_result_report_and_log_come_back(plugin: Plugin) -> None:
    """An action's return value, what it reported and what it printed."""
    folder = plugin("""
def run(epochs, job):
    for epoch in range(epochs):
        job.metrics({"loss": 1 / (epoch + 1)})
        job.progress(epoch + 1, epochs)
    job.artifact("note.txt", b"done")
    print("trained")
    return {"epochs": epochs}
""")

    run = run_action(folder, "run", {"epochs": 2})

    assert run.result == {"epochs": 2}
    assert run.report.metrics["loss"] == [(0, 1.0), (1, 0.5)]
    assert run.report.progress[""].done == 2
    assert run.artifacts == {"note.txt": b"done"}
    assert run.log == "trained\n"


def test_failure_has_the_log(plugin: Plugin) -> None:
    """An action that raises is an error with its traceback and its exit code, as on a cluster."""
    folder = plugin("def run():\n    print('before')\n    raise ValueError('no such column')\n")

    with pytest.raises(RayJobFailedError) as failure:
        run_action(folder, "run")

    assert isinstance(failure.value, LocalRunFailedError)
    assert failure.value.exit_code == 1
    assert failure.value.log.startswith("before\n")
    assert "ValueError: no such column" in str(failure.value)


def test_missing_requirement_is_named_as_such(plugin: Plugin) -> None:
    """Requirements are not installed here, and an error that comes from that says so."""
    folder = plugin(
        "import no_such_package_here\ndef run(): ...\n", {"requirements.txt": "numpy\n"}
    )

    with pytest.raises(LocalRunFailedError, match="environment that you run this in: numpy"):
        run_action(folder, "run")


def test_bad_input_is_refused_as_on_submission(plugin: Plugin) -> None:
    """Nothing runs if a cluster would not get the job."""
    with pytest.raises(ActionNotFoundError, match="run"):
        run_action(plugin("def run(): ..."), "walk")


def test_files_that_would_not_be_sent_are_not_there(plugin: Plugin) -> None:
    """An ignored file is missing here, too, and what the action writes does not end up in the plugin."""
    code = "import os\ndef run():\n    open('new', 'w').close()\n    return sorted(os.listdir())\n"
    folder = plugin(code, {".gitignore": "data.csv\n", "data.csv": "1"})

    run = run_action(folder, "run")

    assert "m.py" in run.result
    assert "data.csv" not in run.result
    assert not (folder / "new").exists()


def test_variables_and_storage_are_there(plugin: Plugin) -> None:
    """The action has its variables and a storage_path of its own, which is gone afterwards."""
    folder = plugin(
        "import os\ndef run(job):\n"
        "    return [os.environ['COLOR'], os.path.isdir(job.storage_path), job.storage_path]\n"
    )

    run = run_action(folder, "run", env={"COLOR": "blue"})

    assert run.result[:2] == ["blue", True]
    assert not Path(run.result[2]).exists()


def test_command_runs_in_its_folder(tmp_path: Path) -> None:
    """A shell command is a job, too. It has no result."""
    (tmp_path / "a.txt").write_text("hello\n")
    job = RayJobExecutor("http://localhost", working_dir=tmp_path).prepare_entrypoint("cat a.txt")
    shown: list[bytes] = []

    run = run_locally(job, name="The command", show=shown.append)

    assert (run.result, run.log, b"".join(shown)) == (None, "hello\n", b"hello\n")


def test_code_that_only_a_cluster_reads_is_refused() -> None:
    """A URI is not downloaded."""
    executor = RayJobExecutor("http://localhost", working_dir="s3://bucket/plugin.zip")

    with pytest.raises(RayJobSubmissionError, match="only a cluster reads"):
        run_locally(executor.prepare_action("m:run"), name="m:run")


def test_processes_that_an_action_leaves_are_stopped(plugin: Plugin, tmp_path: Path) -> None:
    """Nothing of a local run goes on after it."""
    pid = tmp_path / "pid"
    folder = plugin(
        "import subprocess\ndef run(file):\n"
        "    child = subprocess.Popen(['sleep', '600'])\n"
        "    open(file, 'w').write(str(child.pid))\n"
    )

    run_action(folder, "run", {"file": str(pid)})

    state = Path(f"/proc/{pid.read_text()}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_context_of_a_unit_test_keeps_what_is_reported(tmp_path: Path) -> None:
    """A test that calls the action's function itself can look at its report."""

    def train(epochs: int, job: JobContext) -> None:
        for _ in range(epochs):
            job.metrics({"loss": 0.5})
        job.artifact("a.txt", b"x")

    job = JobContext(storage_path=tmp_path)
    train(2, job)

    assert job.report.metrics["loss"] == [(0, 0.5), (1, 0.5)]
    assert job.artifact_bytes("a.txt") == b"x"
    assert (job.storage_path, job.airflow) == (str(tmp_path), None)
    job.metrics({"loss": 0.25})
    assert job.report.metrics["loss"][2:] == [(2, 0.25)]


def test_context_of_a_unit_test_has_an_empty_report_at_first() -> None:
    """A function that reports nothing leaves nothing."""
    job = JobContext()

    assert not job.report.metrics
    assert Path(str(job.storage_path)).is_dir()


def test_no_variable_leads_to_a_cluster(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local run asks no cluster, whatever the shell says."""
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")

    run = run_action(
        plugin("import os\ndef run():\n    return os.environ.get('RAY_ADDRESS')\n"), "run"
    )

    assert (run.result, run.log) == (None, "")
