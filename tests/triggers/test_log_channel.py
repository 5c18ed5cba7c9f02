"""Whether the channel of a triggerer's log has room, as Airflow's own logger factory knows it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog
from airflow.sdk._shared.logging.structlog import LoggerFactory, NamedBytesLogger

from airflow_synapse.rayjobs.log_turns import log_turns
from airflow_synapse.triggers import log_channel


@pytest.fixture
def channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    """What a triggerer's structlog writes into, and the supervisor's end."""
    ours, theirs = socket.socketpair()
    before = structlog.get_config()
    log_channel._poller.cache_clear()
    with ours, theirs, ours.makefile("wb", buffering=0) as output:
        structlog.configure(logger_factory=LoggerFactory(NamedBytesLogger, io=output))
        yield ours, theirs
        structlog.configure(**before)
        log_channel._poller.cache_clear()


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
    log_channel._poller.cache_clear()
    with (tmp_path / "log").open("wb") as output:
        structlog.configure(logger_factory=LoggerFactory(NamedBytesLogger, io=output))
        assert log_channel.has_room()
        structlog.configure(**before)
    log_channel._poller.cache_clear()


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
