"""Reading what a job has reported. An action writes the report, so anything may be in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse.exceptions import RayLogNotFoundError
from airflow_synapse.rayjobs import JobInfo, JobReport, Message, Progress, RayJobExecutor
from airflow_synapse.rayjobs.client.jobs_api import jobs_api
from airflow_synapse.rayjobs.job import report_lines, reports
from airflow_synapse.rayjobs.job.report_lines import parse_report
from airflow_synapse.rayjobs.job.reports import artifact_file, read_report, report_file
from airflow_synapse.rayjobs.models import RayCluster
from tests.support.stub_dashboard import StubDashboard

TOKEN = "0123456789abcdef"


def lines(*fields: Any) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in fields)


def artifact(name: str, size: int, token: str = TOKEN) -> dict[str, Any]:
    return {"artifact": name, "media_type": "image/png", "size": size, "time": 1.0, "file": token}


def test_report_is_read_while_the_job_runs(stub_dashboard: StubDashboard) -> None:
    """Its last line may still be incomplete."""
    stub_dashboard.add_job("j", status="RUNNING")
    stub_dashboard.files[report_file("j")] = (
        lines(
            {"progress": "epochs", "done": 1, "total": 3, "time": 2.0},
            {"metrics": {"loss": 0.5, "lr": 1}, "step": 4},
            {"metrics": {"loss": 0.25}, "step": 5},
            {"progress": "epochs", "done": 2, "total": 3, "time": 3.0},
            artifact("a.png", 3),
            {"message": "<b>hi</b>", "level": "info", "time": 1.5},
        )
        + b'{"message": "not yet'
    )
    stub_dashboard.files[artifact_file("j", TOKEN)] = b"123"

    executor = RayJobExecutor(stub_dashboard.url)
    report = executor.get_report("j")

    assert report.progress == {"epochs": Progress(2, 3)}
    assert report.metrics == {"loss": [(4, 0.5), (5, 0.25)], "lr": [(4, 1)]}
    assert [(a.name, a.media_type, a.size) for a in report.artifacts] == [("a.png", "image/png", 3)]
    assert report.messages == [Message(1.5, "info", "<b>hi</b>")]
    assert executor.get_artifact("j", "a.png") == b"123"


def test_job_that_reported_nothing_has_an_empty_report(stub_dashboard: StubDashboard) -> None:
    """Also if it never ran."""
    stub_dashboard.add_job("j")
    stub_dashboard.add_job("waits", status="PENDING", ever_ran=False)
    executor = RayJobExecutor(stub_dashboard.url)

    assert executor.get_report("j") == executor.get_report("waits") == JobReport()
    with pytest.raises(RayLogNotFoundError, match="no artifact 'a'; it has reported none"):
        executor.get_artifact("j", "a")


async def test_report_of_a_node_that_is_gone_says_that_it_is_lost(
    stub_dashboard: StubDashboard,
) -> None:
    """An empty report alone would mean that there was nothing."""
    info = JobInfo("j", "SUCCEEDED", driver_node_id="ff" * 28)

    async with jobs_api(RayCluster(stub_dashboard.url)) as api:
        (message,) = (await read_report(api, info)).messages

    assert message.level == "warning"
    assert "its node is gone" in message.text


@pytest.mark.parametrize("token", ["../../etc/passwd", "", 7, "0123456789ABCDEF", TOKEN + "\n"])
def test_report_can_not_name_a_file_that_is_not_its_own(token: Any) -> None:
    """Only a token, to which the reader adds the job's ID."""
    assert parse_report(lines(artifact("a", 1, token))).artifacts == []


def test_artifact_that_is_incomplete_is_an_error(
    stub_dashboard: StubDashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a model is worse than none."""
    monkeypatch.setattr(reports, "_BELIEVED_AFTER", 2)
    stub_dashboard.add_job("j")
    stub_dashboard.files[report_file("j")] = lines(artifact("a", 10), artifact("b", 1, "f" * 16))
    stub_dashboard.files[artifact_file("j", TOKEN)] = b"123"
    executor = RayJobExecutor(stub_dashboard.url)

    with pytest.raises(RayLogNotFoundError, match="incomplete or was overwritten"):
        executor.get_artifact("j", "a")
    with pytest.raises(RayLogNotFoundError, match="the file is gone"):
        executor.get_artifact("j", "b")


GARBAGE = (
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"metrics": ' * 5_000,
    b"7",
    b"{}",
    b'{"metrics": {"a": "x"}, "step": 1}',
    b'{"metrics": {"a": 1}, "step": true}',
    b'{"metrics": {"a": 1}}',
    b'{"progress": 1, "done": 1}',
    b'{"progress": "a", "done": null}',
    b'{"artifact": "../a", "media_type": "x", "size": 1, "file": "0123456789abcdef"}',
    b'{"artifact": "a", "media_type": 1, "size": 1, "file": "0123456789abcdef"}',
    b'{"artifact": "a", "media_type": "x", "size": -1, "file": "0123456789abcdef"}',
    b'{"message": "a", "level": "info"}',
    b'{"progress": "a", "done": 1' + b"0" * 10_000 + b"}",
)


def test_garbage_is_left_out_and_that_is_said() -> None:
    """What is around it stays readable."""
    good = lines({"metrics": {"a": 1}, "step": 1})

    report = parse_report(good.join([b"", *(line + b"\n" for line in GARBAGE), b""]))

    assert report.metrics == {"a": [(1, 1)] * (len(GARBAGE) + 1)}
    assert (report.progress, report.artifacts) == ({}, [])
    assert [message.text for message in report.messages] == [
        f"{len(GARBAGE)} lines of the report can't be read."
    ]


@given(st.binary(max_size=200), st.recursive(st.none() | st.floats() | st.text(), st.lists))
def test_reading_never_fails(data: bytes, value: Any) -> None:
    """Whatever is in the file."""
    fields = {"metrics": value, "progress": value, "artifact": value, "message": value}

    assert parse_report(data + b"\n").metrics == {}
    for key in fields:
        parse_report(lines({**dict.fromkeys(("step", "done", "size", "level"), value), key: value}))


def test_what_is_too_much_is_left_out_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The values of a flood, names without end, and the rest of a file that is too long."""
    monkeypatch.setattr(report_lines, "MAX_VALUES", 10)
    monkeypatch.setattr(report_lines, "MAX_NAMES", 2)
    monkeypatch.setattr(report_lines, "MAX_MESSAGES", 1)
    data = lines(
        *({"metrics": {"a": i}, "step": i} for i in range(15)),
        *({"progress": f"{i}", "done": 1} for i in range(5)),
        *(artifact(f"{i}", 1) for i in range(4)),
        *({"message": "m", "level": "info", "time": 1} for _ in range(3)),
    )

    report = parse_report(data, is_cut=True)

    assert len(report.metrics["a"]) == 10
    assert (len(report.progress), len(report.artifacts)) == (2, 2)
    assert [message.text for message in report.messages] == [
        "m",
        f"Only the first {len(data)} bytes of the report were read.",
        "12 more values of the report were left out.",
    ]


def test_report_that_is_too_long_is_cut(
    stub_dashboard: StubDashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than that is held in memory."""
    monkeypatch.setattr(reports.read_report, "__kwdefaults__", {"max_bytes": 1_000})
    stub_dashboard.add_job("j")
    stub_dashboard.files[report_file("j")] = lines({"metrics": {"a": 1}, "step": 1}) * 1_000

    report = RayJobExecutor(stub_dashboard.url).get_report("j")

    assert 10 < len(report.metrics["a"]) < 1_000
    assert "Only the first 1000 bytes" in report.messages[0].text


def test_numbers_that_nothing_can_show_are_garbage() -> None:
    """Who shows a report need not check its values again."""
    report = parse_report(
        lines(
            {"metrics": {"a": 10**400, "b": 1.5}, "step": 1},
            {"progress": "", "done": 10**400},
            {"message": "late", "level": "info", "time": 1e300},
            {"message": "never", "level": "info", "time": float("nan")},
        )
    )

    assert report.progress == {}
    assert 10**400 not in [value for pairs in report.metrics.values() for _, value in pairs]
    assert not {"late", "never"} & {message.text for message in report.messages}
