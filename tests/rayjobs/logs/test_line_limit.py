"""The limit on how much of a log is shown."""

from __future__ import annotations

from airflow_synapse.rayjobs.logs.line_limit import LineLimit

LINES = [f"line {number}" for number in range(1000)]


def test_no_limit_shows_all() -> None:
    """A rate of 0 is none."""
    limit = LineLimit(0)

    assert limit.admit(LINES, 0.0) == LINES
    assert limit.left_out(100.0, is_end=True) == 0


def test_short_bursts_are_shown() -> None:
    """Ten seconds' worth of lines may come at once."""
    assert LineLimit(100).admit(LINES, 0.0) == LINES


def test_lines_beyond_the_rate_are_counted() -> None:
    """The first lines are shown, and how many were not is told in a while or at the end."""
    limit = LineLimit(10)

    shown = limit.admit(LINES, 0.0)

    assert shown == LINES[:100]
    assert limit.left_out(1.0) == 0
    assert limit.left_out(11.0) == 900
    assert limit.left_out(100.0, is_end=True) == 0
    limit.admit(LINES, 11.0)
    assert limit.left_out(11.0, is_end=True) == 900


def test_room_comes_back_with_time() -> None:
    """After a pause as many lines are shown as the rate gives."""
    limit = LineLimit(10)
    limit.admit(LINES, 0.0)

    assert limit.admit(LINES, 2.0) == LINES[:20]
