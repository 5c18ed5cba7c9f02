"""Logs take turns on the event loop."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse.rayjobs.logs.turns import LogTurns, end_of_turn, log_turns


@given(st.binary(max_size=300).map(lambda data: data.replace(b"x", b"\n")), st.integers(1, 20))
def test_turns_cover_a_chunk(chunk: bytes, most: int) -> None:
    """Each turn takes in something, none more lines than it may, and together they take in all."""
    position, parts = 0, []
    while position < len(chunk):
        end = end_of_turn(chunk, position, most)
        parts.append(chunk[position:end])
        position = end

    assert b"".join(parts) == chunk
    assert all(part and part.count(b"\n") <= most for part in parts)


def test_long_lines_end_a_turn() -> None:
    """A chunk without line ends is not taken in in one go."""
    assert 0 < end_of_turn(b"x" * 10_000_000, 0, 100) < 1_000_000


async def test_slow_lines_make_short_turns() -> None:
    """Where showing a line takes long, fewer are taken in at a time, but never none."""
    turns = LogTurns()
    sizes = []
    for _ in range(12):
        async with turns.turn() as most:
            sizes.append(most)
            time.sleep(0.0005 * most)  # on purpose: showing lines blocks

    assert sizes[0] > sizes[-1] >= 1


async def test_everything_else_runs_between_two_turns() -> None:
    """However many logs wait for a turn, others come in between."""
    turns, order = log_turns(), []

    async def take_turns(name: str) -> None:
        for _ in range(3):
            async with turns.turn():
                order.append(name)

    async def other() -> None:
        for _ in range(6):
            order.append("other")
            await asyncio.sleep(0)

    await asyncio.gather(take_turns("a"), take_turns("b"), other())

    assert log_turns() is turns
    logs = [name for name in order if name != "other"]
    assert logs in (["a", "b"] * 3, ["b", "a"] * 3)
    assert order.index("other") < 3


async def test_turn_is_given_back_by_who_fails() -> None:
    """A log that breaks inside its turn holds up no other."""
    turns = LogTurns()
    with pytest.raises(ValueError, match="broken"):
        async with turns.turn():
            raise ValueError("broken")

    async with turns.turn() as most:
        assert most >= 1
