"""Ordinary code and asynchronous work, whatever interrupts the one or the other."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from airflow_synapse.exceptions import RayClusterUnreachableError
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.crossing import Crossing
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER

if TYPE_CHECKING:
    from blockbuster import BlockBuster


class _AlarmError(Exception):
    """What a task's timeout raises."""


@contextmanager
def alarm_after(seconds: float) -> Iterator[None]:
    """Raise in this thread, wherever it is by then."""

    def ring(*_: Any) -> NoReturn:
        raise _AlarmError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def living() -> int:
    """Return how many crossings have a thread."""
    code = Crossing._run.__code__
    stacks = (traceback.walk_stack(frame) for frame in sys._current_frames().values())
    return sum(any(frame.f_code is code for frame, _ in stack) for stack in stacks)


def no_thread_stays() -> bool:
    """Return whether all threads end soon: a thread may outlive its crossing, but not by much."""
    deadline = time.monotonic() + 30
    while living() and time.monotonic() < deadline:
        time.sleep(0.001)
    return not living()


async def _answer() -> int:
    await asyncio.sleep(0)
    return 42


def test_work_returns_its_value() -> None:
    """Several pieces of work share one loop, and the thread ends with the crossing."""
    with Crossing() as crossing:
        assert crossing.call(_answer) == 42
        assert crossing.call(_answer) == 42
        assert living() == 1

    assert no_thread_stays()


def test_work_raises_its_error() -> None:
    """The error comes out where the work was called."""

    async def fail() -> NoReturn:
        raise ValueError("it broke")

    with Crossing() as crossing, pytest.raises(ValueError, match="it broke"):
        crossing.call(fail)


def test_crossing_that_nobody_used_has_no_thread() -> None:
    """It costs nothing until there is work."""
    assert no_thread_stays()
    with Crossing():
        assert living() == 0


def test_closed_crossing_takes_no_work() -> None:
    """What is started too late is refused instead of waiting for ever."""
    crossing = Crossing()
    crossing.call(_answer)
    crossing.close()
    crossing.close()

    with pytest.raises(RuntimeError, match="closed"):
        crossing.call(_answer)


def test_crossing_works_inside_an_event_loop(no_blocking: BlockBuster) -> None:
    """As in a notebook, where the loop waits."""
    no_blocking.deactivate()

    async def outer() -> int:
        with Crossing() as crossing:
            return crossing.call(_answer)

    assert asyncio.run(outer()) == 42


def test_leaving_cancels_and_waits() -> None:
    """Work that is under way ends before the crossing is left, even if it swallows a cancellation."""
    ended = threading.Event()
    started = threading.Event()

    async def stubborn() -> None:
        started.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)  # swallows the first one
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    with Crossing() as crossing:
        crossing.prepare(stubborn).begin()
        started.wait()

    assert ended.is_set()


def test_clean_up_is_not_interrupted() -> None:
    """Work that was cancelled already gets the time to close what it has open."""
    is_clean = threading.Event()
    has_begun = threading.Event()

    async def careful() -> None:
        try:
            has_begun.set()
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.05)
            is_clean.set()

    with Crossing() as crossing:
        crossed = crossing.prepare(careful)
        crossed.begin()
        has_begun.wait()
        crossed.cancel()

    assert is_clean.is_set()


def test_exception_in_the_thread_that_waits_cancels_the_work() -> None:
    """A task's timeout ends the wait at once, and what it waited for is cancelled."""
    cancelled = threading.Event()

    async def wait() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()

    with pytest.raises(_AlarmError), alarm_after(0.1), Crossing() as crossing:
        crossing.call(wait)

    assert cancelled.is_set()


@pytest.mark.parametrize("step", range(40))
def test_exception_at_any_moment_ends_the_call(step: int) -> None:
    """Wherever the alarm falls, the thread's start included, the call ends and no thread stays."""
    with suppress(_AlarmError), alarm_after(0.00002 + step * 0.00004), Crossing() as crossing:
        crossing.call(lambda: asyncio.sleep(3600))

    assert no_thread_stays()


def test_script_that_leaves_a_stream_open_ends(stub_dashboard: StubDashboard) -> None:
    """The interpreter ends although a generator still waits for lines."""
    stub_dashboard.add_job("j", runtime=NEVER, log=((0.0, b"one\n"),))
    script = (
        "from airflow_synapse.rayjobs import RayJobExecutor\n"
        f"lines = RayJobExecutor({stub_dashboard.url!r}).stream_logs('j')\n"
        "next(lines)\n"
    )

    ended = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)

    assert ended.returncode == 0


def test_work_may_raise_what_queues_raise() -> None:
    """It is not taken for one of ours."""

    async def fail() -> NoReturn:
        raise Empty

    with Crossing() as crossing, pytest.raises(Empty):
        crossing.call(fail)


def test_loop_can_t_wait_for_itself() -> None:
    """A call from its own thread is refused instead of waiting for ever."""
    with Crossing() as crossing:

        async def call_again() -> int:
            return crossing.call(_answer)

        with pytest.raises(RuntimeError, match="wait for itself"):
            crossing.call(call_again)


def test_closing_ends_who_waits() -> None:
    """In another thread, with an ordinary error."""
    crossing = Crossing()
    errors: list[BaseException] = []
    started = threading.Event()

    async def wait() -> None:
        started.set()
        await asyncio.sleep(3600)

    def call() -> None:
        try:
            crossing.call(wait)
        except Exception as exc:
            errors.append(exc)

    calling = threading.Thread(target=call)
    calling.start()
    started.wait()
    crossing.close()
    calling.join(20)

    assert [type(error) for error in errors] == [RuntimeError]


def test_forked_process_does_not_wait_for_its_parent_s_loop() -> None:
    """It has no such thread."""
    with Crossing() as crossing:
        crossing.call(_answer)
        child = os.fork()
        if not child:
            try:
                crossing.call(_answer)
            except RuntimeError:
                crossing.close()
                os._exit(0)
            os._exit(1)
        _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0


def test_slow_name_resolution_holds_up_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call ends within its timeout although a thread still asks for the name."""
    is_over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: is_over.wait(60))

    with pytest.raises(RayClusterUnreachableError):
        RayJobExecutor("http://head.example:8265", request_timeout=0.3).get_status("j")

    assert not is_over.is_set()
    is_over.set()


def test_work_that_is_cancelled_before_it_begins_never_begins() -> None:
    """Whoever prepared it need not know how far it came."""
    has_begun = threading.Event()

    async def work() -> None:
        has_begun.set()

    with Crossing() as crossing:
        crossed = crossing.prepare(work)
        crossed.cancel()
        crossed.begin()
        crossing.call(_nothing)

        assert crossed.has_ended
        assert not has_begun.is_set()


async def _nothing() -> None: ...
