"""What Airflow masks in a job's command and metadata is masked on its page, too."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse.rayjobs.models import RUNNING, JobInfo, RayCluster
from airflow_synapse.views import task_record
from airflow_synapse.views.masked_texts import hidden_parts, shown_texts
from airflow_synapse.views.secret_values import hider_of
from tests.support.stub_dashboard import StubDashboard
from tests.views.conftest import FIELDS, JOB_ID, AddTask, add_job

Show = Callable[..., Any]

CLUSTER = RayCluster("http://head:8265")
COMMAND = "python load.py --password s3cret-pa55 --table t"
MASKED = "python load.py --password *** --table t"
TRUNCATED = "Truncated. You can change this behaviour in [core]max_templated_field_length. "


def driver_s_log(entrypoint: str, *lines: str) -> tuple[tuple[float, bytes], ...]:
    """Return a log as Ray's driver begins it."""
    said = f"Running entrypoint for job {JOB_ID}: {entrypoint}"
    return ((0.0, "\n".join([said, *lines, ""]).encode()),)


def test_masked_secrets_are_nowhere_on_the_page(
    cluster: StubDashboard, add_task: AddTask, show: Show
) -> None:
    """A secret of a rendered command is in neither entrypoint, log, message nor metadata."""
    job = add_job(
        cluster,
        entrypoint=COMMAND,
        log=driver_s_log(COMMAND, "connecting with s3cret-pa55", "loaded 3 rows"),
        status="FAILED",
        message="refused: s3cret-pa55, m3ta",
    )
    job.request["metadata"] |= {"dsn": "db://u:m3ta@host", "again": "s3cret-pa55"}
    add_task(fields={**FIELDS, "entrypoint": MASKED, "metadata": {"dsn": "db://u:***@host"}})

    page = html.unescape(show().text)

    assert "s3cret" not in page
    assert "m3ta@" not in page
    assert f'<pre class="entrypoint">{MASKED}</pre>' in page
    assert f"Running entrypoint for job {JOB_ID}: {MASKED}\nconnecting with ***\nloaded 3" in page
    assert "<dd>db://u:***@host</dd>" in page
    assert "refused: ***, ***" in page


def test_command_that_was_rendered_otherwise(
    cluster: StubDashboard, add_task: AddTask, show: Show
) -> None:
    """Of a job whose command is not the rendered one, the masked text is shown and no other."""
    add_job(cluster, entrypoint=COMMAND, log=driver_s_log(COMMAND, "loaded"))
    add_task(fields={**FIELDS, "entrypoint": "python other.py ***"})

    page = show().text

    assert "s3cret" not in page
    assert f"Running entrypoint for job {JOB_ID}: python other.py ***\nloaded" in page


def test_command_that_airflow_truncated(
    cluster: StubDashboard, add_task: AddTask, show: Show
) -> None:
    """Of a command that Airflow keeps the beginning of, no more is shown."""
    add_job(cluster, entrypoint=COMMAND, log=driver_s_log(COMMAND, "loaded"))
    add_task(fields={**FIELDS, "entrypoint": f"{TRUNCATED}'python load.py'... "})

    page = show().text

    assert "s3cret" not in page
    assert "python load.py" in page
    assert "\nloaded" in page


def test_command_whose_rendered_text_is_forgotten(
    cluster: StubDashboard,
    add_task: AddTask,
    show: Show,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where Airflow keeps the template alone, whatever was filled in is masked."""
    add_job(cluster, entrypoint=COMMAND, log=driver_s_log(COMMAND, "is s3cret-pa55"))
    add_task(fields={})
    template = "python load.py --password {{ conn.db.password }} --table t"
    fields = {**FIELDS, "entrypoint": task_record.without_values(template)}
    monkeypatch.setattr(task_record, "_fields_of_dag", lambda ti, session: fields)

    page = show().text

    assert "s3cret" not in page
    assert MASKED in page


def test_sensor_masks_what_the_submitting_task_does(
    cluster: StubDashboard, add_task: AddTask, show: Show
) -> None:
    """The secrets of a job are those of the task that submitted it, whoever waits for it."""
    job = add_job(cluster, entrypoint=COMMAND, log=driver_s_log(COMMAND))
    job.request["metadata"]["airflow_map_index"] = "3"
    add_task(fields={**FIELDS, "entrypoint": MASKED}, map_index=3)
    add_task(fields={"ray_conn_id": "ray_default", "job_id": JOB_ID}, job_id=None)

    page = show().text

    assert MASKED in page
    assert "s3cret" not in page


@pytest.mark.parametrize(
    ("masked", "actual", "parts"),
    [
        ("***", "abc", ["abc"]),
        ("a *** b", "a x b", ["x"]),
        ("a *** b ***", "a x b y b z", ["x", "y b z"]),
        ("u:******@h", "u:xy@h", ["xy"]),
        ("a *** b", "a  b", None),
        ("a *** b", "c x b", None),
        ("a *** b", "a x c", None),
        ("***:***", "a", None),
        ("no mask", "no mask", []),
        ("no mask", "no masks", None),
    ],
)
def test_masks_are_held_against_the_text(masked: str, actual: str, parts: Any) -> None:
    """What a mask stands for lies between the same words."""
    assert hidden_parts(masked, actual) == parts


@given(st.lists(st.text("ab", max_size=3), min_size=2, max_size=5), st.text("ab", max_size=12))
def test_masks_stand_for_what_a_regular_expression_would_find(
    literals: list[str], actual: str
) -> None:
    """The groups of ``re.fullmatch``, for whatever texts."""
    middle = [literal or "a" for literal in literals[1:-1]]  # masks side by side are one
    literals = [literals[0], *middle, literals[-1]]
    found = re.fullmatch("(.+?)".join(map(re.escape, literals)), actual, re.DOTALL)

    assert hidden_parts("***".join(literals), actual) == (list(found.groups()) if found else None)


def test_texts_made_to_take_long_do_not() -> None:
    """Many masks in a long text, and many secrets in a long log, take no time that anybody notices."""
    masked, actual = " ".join(["***"] * 1000), "a " * 50_000
    info = JobInfo("j", RUNNING, entrypoint=actual)
    line = "ab " * 80_000

    began = time.perf_counter()
    hidden_parts(masked + "!", actual)
    texts = shown_texts(info, {"entrypoint": masked})
    hider_of(CLUSTER, texts.secrets)(line)
    hider_of(CLUSTER, [f"ab {number}" for number in range(1000)])(line)

    assert time.perf_counter() - began < 0.5


def info_of(entrypoint: str = "", **metadata: str) -> JobInfo:
    return JobInfo(JOB_ID, RUNNING, entrypoint=entrypoint, metadata=metadata)


def test_short_secrets_are_masked_where_they_are_and_nowhere_else() -> None:
    """A secret of a letter or two is in every text: only the command is masked then."""
    texts = shown_texts(info_of("run --pin 7 x"), {"entrypoint": "run --pin *** x"})

    assert texts.entrypoint == "run --pin *** x"
    assert texts.secrets == frozenset()
    assert texts.line(f"Running entrypoint for job {JOB_ID}: run --pin 7 x").endswith("--pin *** x")
    assert texts.line("7 rows") == "7 rows"


def test_secret_of_several_lines_is_masked_line_by_line() -> None:
    """A key is hidden in a log, too, that comes in lines, and so is a command with one in it."""
    key = "-----BEGIN KEY-----\nMIIEowIBAAK\nab\n-----END KEY-----"
    texts = shown_texts(info_of(f"run '{key}' x\nnext"), {"entrypoint": "run '***' x\nnext"})

    hide = hider_of(CLUSTER, texts.secrets)
    shown = [hide(texts.line(line)) for line in ["it is MIIEowIBAAK.", "ab", "' x", "next", "or"]]

    assert shown == ["it is ***.", "***", "' x", "next", "or"]
    assert key in texts.secrets


def test_metadata_that_is_kept_as_one_text_is_masked() -> None:
    """Where Airflow truncated the metadata, only what this provider adds to it is shown."""
    info = info_of(dsn="s3cret", airflow_dag_id="dag")

    assert shown_texts(info, {"metadata": f"{TRUNCATED}{{'dsn': "}).metadata == {
        "dsn": "***",
        "airflow_dag_id": "dag",
    }


def test_what_airflow_does_not_mask_is_shown_as_it_is() -> None:
    """A command without a mask is the job's own, however it was rendered."""
    info = info_of("echo ***", note="x")

    texts = shown_texts(info, {"entrypoint": "echo 1", "metadata": {"note": "y"}})

    assert (texts.entrypoint, texts.metadata) == ("echo ***", {"note": "x"})
    assert not texts.secrets
    assert not texts.driver_lines


def test_secret_is_not_cut_in_half(cluster: StubDashboard, add_task: AddTask, show: Show) -> None:
    """A long line is hidden before it is shortened."""
    line = "x" * 1990 + " s3cret-pa55"
    add_job(cluster, entrypoint=COMMAND, log=driver_s_log(COMMAND, line))
    add_task(fields={**FIELDS, "entrypoint": MASKED})

    assert "s3cret" not in show().text
