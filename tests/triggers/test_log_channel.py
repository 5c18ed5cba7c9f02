"""Whether the channel of a triggerer's log has room, as Airflow's own logger factory knows it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

import structlog
from airflow.sdk._shared.logging.structlog import LoggerFactory, NamedBytesLogger

from airflow_synapse.rayjobs.logs.turns import log_turns
from airflow_synapse.triggers import log_channel
from tests.triggers.watching import forget_channel


def fill(ours: socket.socket) -> None:
    ours.setblocking(False)
    with suppress(BlockingIOError):
        while ours.send(b"x" * 4096):
            pass


def test_full_channel_has_no_room(channel: tuple[socket.socket, socket.socket]) -> None:
    """Until the other side has read, nothing can be written without blocking."""
    ours, theirs = channel
    assert log_channel.has_room()

    fill(ours)

    assert not log_channel.has_room()
    while not log_channel.has_room():
        assert theirs.recv(4096)


def test_room_is_room_for_a_turn(channel: tuple[socket.socket, socket.socket]) -> None:
    """Where there is room, the lines of one turn fit, though each comes with Airflow's own fields."""
    ours, theirs = channel
    fill(ours)
    while not log_channel.has_room():
        theirs.recv(1)

    async def most_lines() -> int:
        async with log_turns().turn(log_channel.has_room) as most:
            return most

    for _ in range(asyncio.run(most_lines())):
        assert ours.send(b"x" * 500) == 500


def test_file_always_has_room(tmp_path: Path) -> None:
    """Outside a triggerer lines go to a file or a terminal, which take all."""
    before = structlog.get_config()
    forget_channel()
    with (tmp_path / "log").open("wb") as output:
        structlog.configure(logger_factory=LoggerFactory(NamedBytesLogger, io=output))
        assert log_channel.has_room()
        structlog.configure(**before)
    forget_channel()


async def test_others_go_on_while_a_log_waits_for_room(
    channel: tuple[socket.socket, socket.socket],
) -> None:
    """A full channel holds up the log that goes into it, and not the event loop."""
    ours, theirs = channel
    fill(ours)
    taken = asyncio.Event()

    async def take_in() -> None:
        async with log_turns().turn(log_channel.has_room):
            taken.set()

    waiting = asyncio.create_task(take_in())
    await asyncio.sleep(0.1)
    assert not taken.is_set()

    while not log_channel.has_room():
        theirs.recv(4096)
    await asyncio.wait_for(waiting, 5)


async def test_written_lines_are_read_once_the_other_side_took_them(
    channel: tuple[socket.socket, socket.socket],
) -> None:
    """What the supervisor has not read yet is waited for, to the last byte."""
    ours, theirs = channel
    assert await log_channel.wait_until_read(0)

    ours.send(b"x" * 10_000)
    waiting = asyncio.create_task(log_channel.wait_until_read(5))
    theirs.recv(9_999)
    await asyncio.sleep(0.1)
    assert not waiting.done()

    theirs.recv(1)
    assert await waiting


async def test_lines_after_mine_are_not_waited_for(
    channel: tuple[socket.socket, socket.socket],
) -> None:
    """A channel that others keep full holds nobody up whose lines are through."""
    ours, theirs = channel
    for _ in range(8):
        ours.send(b"x" * 4096)
    waiting = asyncio.create_task(log_channel.wait_until_read(30))
    reads = 0
    while not waiting.done():
        assert len(theirs.recv(4096)) == 4096
        reads += 1
        await asyncio.sleep(0.05)
        ours.send(b"y" * 4096)
        await asyncio.sleep(0.05)

    assert await waiting
    assert 8 <= reads <= 10


async def test_supervisor_that_reads_nothing_is_not_waited_for_forever(
    channel: tuple[socket.socket, socket.socket],
) -> None:
    """After the given time the answer is no, to whoever had asked."""
    ours, _ = channel
    ours.send(b"x")

    answers = await asyncio.gather(*(log_channel.wait_until_read(0.05) for _ in range(3)))

    assert answers == [False] * 3
