"""Lines of a job in Airflow's log."""

from __future__ import annotations

import logging

import pytest

from airflow_synapse.hooks import job_lines
from airflow_synapse.hooks.job_lines import show_lines


class Log:
    """A logger that keeps what it gets."""

    def __init__(self, level: int) -> None:
        self.level = level
        self.lines: list[tuple[str, str]] = []

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # as logging names it
        return level >= self.level

    def __getattr__(self, level: str):
        return lambda text: self.lines.append((level, text))


@pytest.mark.parametrize(("level", "shown"), [(logging.DEBUG, "debug"), (logging.INFO, "info")])
def test_lines_keep_their_text_and_show_their_level(
    monkeypatch: pytest.MonkeyPatch, level: int, shown: str
) -> None:
    """No line gets lost, so a line of DEBUG is INFO where Airflow shows no other."""
    log = Log(level)
    monkeypatch.setattr(job_lines, "_logger", lambda: log)

    show_lines(["100 %s {x}", "WARNING:root:late ", "DEBUG:root:inside"])

    assert log.lines == [
        ("info", "100 %s {x}"),
        ("warning", "WARNING:root:late "),
        (shown, "DEBUG:root:inside"),
    ]


def test_lines_go_to_a_logger_that_was_put_in_the_place_of_airflow_s(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Who reads a task's log through Python's logging finds the lines of the job there, too."""
    caplog.set_level("INFO")

    show_lines(["50 %s", "ERROR:root:late"], log=logging.getLogger("mine"))

    assert [(one.name, one.levelname, one.getMessage()) for one in caplog.records] == [
        ("mine", "INFO", "50 %s"),
        ("mine", "ERROR", "ERROR:root:late"),
    ]
