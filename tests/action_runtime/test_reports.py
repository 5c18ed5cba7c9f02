"""What an action reports is in a file beside the driver's log, whatever happens to the action."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_synapse.action_runtime.log_folder import JobPlace
from airflow_synapse.action_runtime.reports import metric_series, report_file
from airflow_synapse.action_runtime.reports.metric_series import MetricSeries
from airflow_synapse.action_runtime.reports.records import (
    artifact_record,
    message_record,
    metrics_record,
    progress_record,
)
from airflow_synapse.action_runtime.reports.report_file import ReportFile
from airflow_synapse.rayjobs.job.report_lines import JobReport, Progress, parse_report
from tests.action_runtime.conftest import JOB_ID, EndedJob

NAME = f"airflow-synapse-report-{JOB_ID}.jsonl"


def report_of(job: EndedJob) -> JobReport:
    return parse_report(job.result_file.with_name(NAME).read_bytes())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def told() -> list[str]:
    """What was said in the job's log."""
    return []


@pytest.fixture
def reports(tmp_path: Path, told: list[str]) -> ReportFile:
    return ReportFile(JobPlace("j", tmp_path), told.append)


def read(folder: Path) -> JobReport:
    return parse_report((folder / "airflow-synapse-report-j.jsonl").read_bytes())


EVERYTHING = """
import os
def run(job, n):
    for i in range(n):
        job.progress(i, n, "epochs")
        job.metrics({"loss": 1 / (i + 1)})
    job.metrics({"accuracy": 0.5}, step=7)
    job.artifact("a.png", b"123")
    job.artifact("a.png", b"1234")
    job.log("100 % {sure}", "warning")
    if n == 3:
        os.kill(os.getpid(), 9)
    return n
"""


@pytest.mark.parametrize(("n", "exit_code"), [(3, -9), (2, 0)])
def test_everything_reported_is_in_the_file(run_job, n, exit_code) -> None:
    """Also after SIGKILL, and nothing of it is in the job's log."""
    job = run_job(EVERYTHING, {"n": n})

    report = report_of(job)
    assert (job.exit_code, job.log) == (exit_code, "")
    assert report.progress == {"epochs": Progress(n - 1, n)}
    assert report.metrics["loss"] == [(i, 1 / (i + 1)) for i in range(n)]
    assert report.metrics["accuracy"] == [(7, 0.5)]
    assert [(a.name, a.media_type, a.size) for a in report.artifacts] == [("a.png", "image/png", 4)]
    assert [(m.level, m.text) for m in report.messages] == [("warning", "100 % {sure}")]


def test_runs_on_python_39(run_job_on_python39) -> None:
    """The oldest Python that the runtime supports."""
    job = run_job_on_python39(EVERYTHING, {"n": 2})

    assert (job.exit_code, job.log) == (0, "")
    assert report_of(job).progress == {"epochs": Progress(1, 2)}


def test_nothing_is_made_before_the_first_report(run_job) -> None:
    """A function that never reports costs nothing."""
    job = run_job("def run(job): return str(job.airflow), job.storage_path")

    assert job.result == ["None", None]
    assert not job.result_file.with_name(NAME).exists()


@pytest.mark.parametrize(
    "code",
    [
        "def run(job): return job",
        "def run(**params): return params['job']",
        "def run(job='default'): return job",
    ],
)
def test_param_of_that_name_stays_the_params(run_job, code) -> None:
    """A plugin whose params have a key 'job' gets its own value."""
    assert run_job(code, {"job": "mine"}).result == "mine"


def test_wrapped_and_async_functions_get_it(run_job) -> None:
    """As long as the decorator passes its arguments on."""
    code = """
import functools
def passing(function):
    @functools.wraps(function)
    def call(*args, **kwargs): return function(*args, **kwargs)
    return call
@passing
async def run(n, *, job): job.progress(n); return n
"""
    job = run_job(code, {"n": 1})

    assert (job.result, report_of(job).progress) == (1, {"": Progress(1)})


def test_job_knows_the_task_that_submitted_it(run_job, tmp_path) -> None:
    """From the variables that Airflow's own operators export, too."""
    storage, earlier = tmp_path / "d/r/t/3", tmp_path / "d/r/t/1"
    earlier.mkdir(parents=True)
    env = {
        "AIRFLOW_CTX_DAG_ID": "d",
        "AIRFLOW_CTX_DAG_RUN_ID": "r",
        "AIRFLOW_CTX_TASK_ID": "t",
        "AIRFLOW_CTX_TRY_NUMBER": "2",
        "AIRFLOW_CTX_LOGICAL_DATE": "2026-01-02T03:04:05+00:00",
        "AIRFLOW_SYNAPSE_STORAGE_PATH": str(storage),
        "AIRFLOW_SYNAPSE_EARLIER_STORAGE_PATHS": json.dumps([f"{tmp_path}/d/r/t/2", str(earlier)]),
    }
    code = "def run(job): return job.airflow._asdict(), job.storage_path, job.earlier_storage_paths"

    assert run_job(code, env=env).result == [
        {
            "dag_id": "d",
            "run_id": "r",
            "task_id": "t",
            "map_index": -1,
            "try_number": 2,
            "logical_date": "2026-01-02T03:04:05+00:00",
        },
        str(storage),
        [str(earlier)],
    ]
    assert storage.is_dir()


@pytest.mark.parametrize(
    "call",
    [
        "job.artifact('../a', b'')",
        "job.artifact('', b'')",
        "job.artifact('a', 7)",
        "job.artifact('a', 'no/such/file')",
        "job.metrics({'loss': 'high'})",
        "job.metrics([1])",
        "job.metrics({'loss': 1}, step='one')",
        "job.progress('half')",
        "job.log('text', 'loud')",
    ],
)
def test_misuse_is_an_error_where_it_is(run_job, call) -> None:
    """It fails at once and in every run, so it is found before it costs anything."""
    job = run_job(f"def run(job):\n    {call}")

    assert job.exit_code == 1
    assert "Error: " in job.log


def test_processes_that_the_action_forks_or_spawns_report_too(run_job) -> None:
    """A fork writes to the file itself, another process reports to the driver."""
    code = """
import multiprocessing
def work(job, n): job.metrics({"value": n}); job.progress(n, step=str(n))
def run(job):
    job.progress(0, step="0")
    for n, method in enumerate(("fork", "spawn"), 1):
        process = multiprocessing.get_context(method).Process(target=work, args=(job, n))
        process.start(); process.join()
        assert process.exitcode == 0
"""
    job = run_job(code)

    report = report_of(job)
    assert (job.exit_code, job.log) == (0, "")
    assert sorted(value for _step, value in report.metrics["value"]) == [1, 2]
    assert report.progress == {"0": Progress(0), "1": Progress(1), "2": Progress(2)}


def test_action_may_close_all_descriptors(run_job) -> None:
    """As daemons do. Then the next file gets the report's number."""
    code = """
import os
def run(job):
    job.log("before")
    os.closerange(3, 1000)
    files = [open(f"f{n}", "w") for n in range(100)]
    job.log("after")
    return [os.path.getsize(file.name) for file in files if os.path.getsize(file.name)]
"""
    job = run_job(code)

    assert job.result == []
    assert [message.text for message in report_of(job).messages] == ["before", "after"]


@pytest.mark.parametrize("plant", ["link", "file", "folder"])
def test_what_has_the_name_is_moved_aside(reports, tmp_path, told, plant) -> None:
    """Nothing is written through a link, and nobody's file is lost."""
    file, victim = tmp_path / "airflow-synapse-report-j.jsonl", tmp_path / "victim"
    victim.write_text("mine")
    {"link": lambda: file.symlink_to(victim), "file": file.touch, "folder": file.mkdir}[plant]()

    reports.take(message_record("text", "info"))

    assert victim.read_text() == "mine"
    assert [message.text for message in read(tmp_path).messages] == ["text"]


def test_file_that_was_swapped_is_not_written_to(reports, tmp_path, told) -> None:
    """That is said once, and raises nothing."""
    reports.take(message_record("text", "info"))
    file = tmp_path / "airflow-synapse-report-j.jsonl"
    reports._file._fds.clear()
    file.unlink()
    file.write_text("")

    for _ in range(2):
        reports.take(message_record("text", "info"))

    assert file.read_text() == ""
    assert len(told) == 1
    assert "somebody else put another file" in told[0]


def test_without_a_log_folder_reports_are_lost_and_that_is_said_once(told) -> None:
    """The action goes on."""
    reports = ReportFile(JobPlace(None, None), told.append)

    reports.take(progress_record(1, 2, ""))
    reports.take(artifact_record("a", b"", None))

    assert told == ["reports are lost: this process does not look like the driver of a Ray job"]


def test_progress_takes_no_more_room_the_more_often_it_is_reported(reports, tmp_path) -> None:
    """Only the last one of a step counts, however many digits it has."""
    for i in range(0, 100_000, 7):
        reports.take(progress_record(i, 100_000, "a" if i % 2 else "b"))
    reports.take(progress_record(10**30, 10**40, "a"))

    assert (tmp_path / "airflow-synapse-report-j.jsonl").stat().st_size < 1_000
    report = read(tmp_path)
    assert report.progress == {"a": Progress(1e30, 1e40), "b": Progress(99_988, 100_000)}
    assert report.progress["b"].done_at_first == 0


def test_artifact_replaces_the_one_of_its_name(reports, tmp_path) -> None:
    """Its file is the only one that stays."""
    for i in range(50):
        reports.take(artifact_record("a.txt", f"{i}".encode(), None))

    (artifact,) = read(tmp_path).artifacts
    assert names(tmp_path) == [
        f"airflow-synapse-artifact-j-{artifact.token}",
        "airflow-synapse-report-j.jsonl",
    ]
    assert (tmp_path / names(tmp_path)[0]).read_bytes() == b"49"
    assert reports.files() == [tmp_path / name for name in reversed(names(tmp_path))]


def test_artifacts_that_are_too_large_are_left_out(reports, tmp_path, monkeypatch) -> None:
    """The report says so, and the action goes on."""
    monkeypatch.setattr("airflow_synapse.action_runtime.reports.records.MAX_ARTIFACT", 10)
    monkeypatch.setattr(report_file, "MAX_ARTIFACTS", 12)
    reports.take(artifact_record("one", b"x" * 11, None))
    reports.take(artifact_record("two", b"x" * 10, None))
    reports.take(artifact_record("three", b"x" * 3, None))

    report = read(tmp_path)
    assert [artifact.name for artifact in report.artifacts] == ["two"]
    assert [message.text.partition(":")[0].partition(",")[0] for message in report.messages] == [
        "Artifact 'one' was left out",
        "Artifact 'three' was left out",
    ]


def test_report_that_is_full_says_so_once(reports, tmp_path, monkeypatch) -> None:
    """What is known already may still change."""
    monkeypatch.setattr(report_file, "MAX_REPORT", 2_000)
    reports.take(progress_record(1, 2, ""))
    for i in range(1_000):
        reports.take(metrics_record({"m": i}, None))
    reports.take(progress_record(2, 2, ""))

    report = read(tmp_path)
    assert (tmp_path / "airflow-synapse-report-j.jsonl").stat().st_size < 2_500
    assert report.progress == {"": Progress(2, 2)}
    assert [message.text for message in report.messages] == [
        "The report is full, with 2000 bytes: what came later was left out."
    ]


def test_messages_are_bounded(reports, tmp_path, monkeypatch) -> None:
    """That is the last one."""
    monkeypatch.setattr(report_file, "MAX_MESSAGES", 2)
    for i in range(5):
        reports.take(message_record("x" * 10_000 if i == 0 else f"{i}", "info"))

    texts = [message.text for message in read(tmp_path).messages]
    assert texts[0].endswith("… (2000 more characters)")
    assert texts[1:] == ["1", "From here on messages are left out, after 2."]


def test_the_more_values_a_metric_has_the_fewer_are_kept(monkeypatch) -> None:
    """But always the last one, and the report says so."""
    monkeypatch.setattr(metric_series, "MAX_VALUES", 100)
    series, kept, news = MetricSeries(), [], []
    for i in range(5_000):
        kept += series.lines({"metrics": {"m": i}})
        news.append(series.news())
    kept += series.last_ones()

    assert [line["step"] for line in kept[:3]] == [0, 1, 2]
    assert kept[-1] == {"metrics": {"m": 4999}, "step": 4999}
    assert len(kept) < 300
    assert len([text for text in news if text]) == 2


def test_names_of_metrics_are_bounded(monkeypatch) -> None:
    """A name with a number in it, for one."""
    monkeypatch.setattr(metric_series, "MAX_METRICS", 2)
    series = MetricSeries()

    lines = [line for i in range(4) for line in series.lines({"metrics": {f"m{i}": i}})]

    assert [list(line["metrics"]) for line in lines] == [["m0"], ["m1"]]
    assert "more names" in series.news()


def test_step_of_a_metric_goes_on_from_the_last_one() -> None:
    """Each name counts for itself."""
    series = MetricSeries()
    told: list[dict[str, Any]] = [
        {"metrics": {"a": 1}},
        {"metrics": {"a": 2, "b": 3}},
        {"metrics": {"a": 4}, "step": 10},
        {"metrics": {"a": 5}},
    ]

    lines = [line for fields in told for line in series.lines(fields)]

    assert [(line["step"], line["metrics"]) for line in lines] == [
        (0, {"a": 1}),
        (1, {"a": 2}),
        (0, {"b": 3}),
        (10, {"a": 4}),
        (11, {"a": 5}),
    ]


def test_numbers_and_figures_of_libraries_are_taken() -> None:
    """By their looks, as no library may be imported for them."""

    class Scalar:
        def __init__(self, value: Any) -> None:
            self.value = value

        def item(self) -> Any:
            return self.value

    class Figure:
        def savefig(self, file: Any, **given: str) -> None:
            file.write(given["format"].encode())

    class Axes:
        figure = Figure()

    record = metrics_record({"a": Scalar(1.5), "b": Scalar(2), 3: True}, Scalar(4))
    assert json.dumps(record.fields) == '{"metrics": {"a": 1.5, "b": 2, "3": 1}, "step": 4}'
    for figure in (Figure(), Axes()):
        drawn = artifact_record("a", figure, None)
        assert (drawn.data, drawn.fields["media_type"]) == (b"png", "image/png")


def test_sockets_that_an_action_closes_cost_no_result(run_job) -> None:
    """An action that has passed its context on and closes all descriptors has done its work all the same."""
    job = run_job(
        "import os, pickle\ndef run(job):\n    pickle.dumps(job)\n    os.closerange(3, 256)\n    return 7\n"
    )

    assert (job.exit_code, job.result) == (0, 7)
