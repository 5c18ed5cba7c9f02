"""What a cluster's answers tell about its clock."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from airflow_synapse.rayjobs.client.answers import ClusterClock


def clock_after(date: str, *, took: float = 0.2) -> ClusterClock:
    """Return a clock that has heard this date now, from an answer that took so many seconds."""
    clock, now = ClusterClock(), time.time()
    clock.note({"Date": date}, sent=now - took, received=now)
    return clock


def test_clocks_that_agree_as_far_as_anybody_can_tell_are_one() -> None:
    """A Date has no fractions of a second, so a limit is as exact as our own clock."""
    now = time.time()

    assert clock_after(formatdate(now, usegmt=True)).ahead == 0.0
    assert clock_after(formatdate(now - 3.0, usegmt=True), took=5.0).ahead == 0.0


@pytest.mark.parametrize("seconds", [1200.0, -1200.0])
def test_clock_that_differs_is_known(seconds: float) -> None:
    """To the second, which is what the header tells."""
    now = clock_after(formatdate(time.time() + seconds, usegmt=True)).now()

    assert now == pytest.approx(time.time() + seconds, abs=1.5)


@pytest.mark.parametrize("date", ["", "soon", "Mon, 99 Foo 2026 00:00:00 GMT"])
def test_answer_that_tells_no_time_teaches_nothing(date: str) -> None:
    """Then nobody knows the cluster's time."""
    assert clock_after(date).now() is None
