"""Bytes of a log become the same lines however they arrive."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_synapse.rayjobs.logs.lines import LineAssembler

MAX = 40
"""The longest line of these tests."""

odd_bytes = st.sampled_from(
    [b"\0", b"\xff", b"\xc3", "é".encode(), "✓".encode(), b"\t", b" ", b"a"]
)
plain_line = st.one_of(
    st.binary(max_size=2 * MAX).map(lambda raw: raw.translate(None, b"\r\n%")),
    st.lists(odd_bytes, max_size=MAX).map(b"".join),
)
ended_line = st.one_of(
    plain_line.map(lambda raw: raw + b"\n"),
    plain_line.map(lambda raw: raw[:MAX] + b"\r\n"),
)
state = st.integers(0, 999).map(lambda number: b"%d%%" % number)
progress_bar = st.one_of(
    st.lists(state, min_size=2, max_size=8).map(lambda states: b"\r".join(states) + b"\n"),
    st.lists(state, min_size=1, max_size=8).map(lambda states: b"\r".join([*states, b"\n"])),
)
plain_log = st.tuples(st.lists(ended_line, max_size=8), plain_line).map(
    lambda parts: b"".join([*parts[0], parts[1]])
)
any_log = st.tuples(st.lists(st.one_of(ended_line, progress_bar), max_size=8), plain_line).map(
    lambda parts: b"".join([*parts[0], parts[1]])
)
cuts = st.lists(st.integers(0, 400), max_size=12)


def chunks(data: bytes, at: Iterable[int]) -> list[bytes]:
    """Cut ``data`` at these places."""
    places = [0, *sorted(min(place, len(data)) for place in at), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


def lines_of(parts: Iterable[bytes], *, seconds_apart: float = 0.0) -> list[str]:
    """Return what an assembler makes of these chunks, the end of the log included."""
    assembler = LineAssembler(longest=MAX)
    lines: list[str] = []
    for number, part in enumerate(parts):
        lines += assembler.feed(part, number * seconds_apart)
        lines += assembler.tick(number * seconds_apart)
    return lines + assembler.flush()


def without_states(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if "%" not in line]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\ntwo\r\n", ["one", "two"]),
        (b"\n\n  indented\n\n", ["", "", "  indented", ""]),
        (b"no newline", ["no newline"]),
        (b"one\n\ttabbed", ["one", "\ttabbed"]),
        ("ä ✓ 🎉\n".encode(), ["ä ✓ 🎉"]),
        (b"\x1b[31mred\x1b[0m\n", ["\x1b[31mred\x1b[0m"]),
        (b"a\0b\n\xff\xfe\n", ["a\0b", "\\xff\\xfe"]),
        (b"1%\r2%\r3%\n", ["3%"]),
        (b"1%\r2%\r3%\r\n", ["3%"]),
        (b"\r1%\r2%\nnext\n", ["2%", "next"]),
        (b"\r\n\r\n", ["", ""]),
        (b"a\x0bb\x0cc\x1cd\xc2\x85e\n", ["a\x0bb\x0cc\x1cd\x85e"]),
    ],
)
def test_bytes_become_the_lines_they_show(data: bytes, lines: list[str]) -> None:
    r"""Lines end at ``\n`` only and keep everything else; of overwritten text the last shows."""
    assert lines_of([data]) == lines


@given(any_log, cuts)
@example(b"a\r\nb\n", [2])
@example("é".encode() + b"\n", [1])
@example(b"1%\r2%\r\nend\n", [6])
@example(b"x" * (MAX + 1) + b"\n", [MAX, MAX + 1])
@example(b"x" * MAX + b"\r\n", [MAX + 1])
def test_lines_do_not_depend_on_how_bytes_are_cut(data: bytes, at: list[int]) -> None:
    """Wherever chunks end, even inside a character or a line end, the lines are the same."""
    assert without_states(lines_of(chunks(data, at))) == without_states(lines_of([data]))


@given(any_log, cuts)
def test_lines_do_not_depend_on_when_bytes_come(data: bytes, at: list[int]) -> None:
    """Pauses let states of a progress bar show, and change no other line."""
    slow = lines_of(chunks(data, at), seconds_apart=10.0)

    assert without_states(slow) == without_states(lines_of([data]))


@given(plain_log, cuts, st.integers(0, 400))
@example(b"one\ntwo", [], 5)
@example(b"x" * (3 * MAX) + b"\nnext\n", [MAX], 2 * MAX)
def test_resuming_at_position_loses_and_repeats_nothing(
    data: bytes, at: list[int], stop: int
) -> None:
    """A reader that goes on at another's position yields exactly the lines that are missing."""
    first = LineAssembler(longest=MAX)
    lines: list[str] = []
    for part in chunks(data[:stop], at):
        lines += first.feed(part, 0.0)
    second = LineAssembler(first.position, longest=MAX)
    lines += second.feed(data[second.received :], 0.0) + second.flush()

    assert lines == lines_of([data])
    assert second.position == len(data)


@given(any_log, cuts, st.integers(0, 400))
@example(b"50%\r100%\r\nnext\n", [], 9)
@example(b"one\n\ntwo\n", [], 4)
@example(b"\r\n", [], 1)
@example(b"\r\r\r\n", [2], 3)
def test_resuming_inside_a_progress_bar_is_as_exact(data: bytes, at: list[int], stop: int) -> None:
    """Also the newline after a bar whose last state is out comes to no line of its own."""
    first = LineAssembler(longest=MAX)
    lines: list[str] = []
    for number, part in enumerate(chunks(data[:stop], at)):
        lines += first.feed(part, number * 10.0) + first.tick(number * 10.0)
    second = LineAssembler(first.position, longest=MAX)
    lines += second.feed(data[second.received :], 0.0) + second.flush()

    assert without_states(lines) == without_states(lines_of([data]))


@given(any_log, cuts)
def test_position_never_goes_back(data: bytes, at: list[int]) -> None:
    """The position only grows, never passes what came in, and ends at the end."""
    assembler = LineAssembler(longest=MAX)
    seen = 0
    for part in chunks(data, at):
        assembler.feed(part, 0.0)
        assert seen <= assembler.position <= assembler.received
        seen = assembler.position
    assembler.flush()

    assert assembler.position == assembler.received == len(data)


@given(st.lists(st.tuples(state, st.floats(0.0, 0.7)), min_size=1, max_size=60), st.booleans())
def test_progress_bar_becomes_at_most_a_line_a_second(
    states: list[tuple[bytes, float]], ends_with_return: bool
) -> None:
    """However fast a bar is drawn, it shows once a second, and its last state always shows."""
    assembler = LineAssembler(longest=MAX)
    now = 0.0
    shown: list[tuple[float, str]] = []
    for text, pause in states:
        now += pause
        data = text + b"\r" if ends_with_return else b"\r" + text
        shown += [(now, line) for line in assembler.feed(data, now) + assembler.tick(now)]
    last = assembler.feed(b"\n", now)

    assert all(later - earlier >= 1.0 for (earlier, _), (later, _) in pairwise(shown))
    assert ([line for _, line in shown] + last)[-1] == states[-1][0].decode()
    assert len(last) <= 1


def test_last_state_shows_when_its_time_has_come() -> None:
    """A state that is held back comes out by itself, and its newline makes no empty line."""
    assembler = LineAssembler(longest=MAX)
    assembler.feed(b"1%\r2%\r", now=0.0)
    assembler.feed(b"3%\r", now=0.2)

    too_early = assembler.tick(now=0.5)
    in_time = assembler.tick(now=1.1)
    after = assembler.feed(b"\nnext\n", now=1.2)

    assert (too_early, in_time, after) == ([], ["3%"], ["next"])
    assert not assembler.has_progress


def test_carriage_return_at_the_end_of_a_chunk_is_no_progress_yet() -> None:
    r"""A ``\r`` whose ``\n`` is still on its way ends an ordinary line."""
    assembler = LineAssembler(longest=MAX)

    assert assembler.feed(b"one\r", now=5.0) == []
    assert assembler.feed(b"\ntwo\n", now=5.1) == ["one", "two"]


@pytest.mark.parametrize("chunk_size", [1, 7, MAX, 1000])
def test_long_line_is_cut_and_says_so(chunk_size: int) -> None:
    """A line over the limit shows its beginning and its size, and the next line is whole."""
    data = b"x" * (MAX + 5) + b"\nnext\n"
    parts = [data[start : start + chunk_size] for start in range(0, len(data), chunk_size)]

    assert lines_of(parts) == ["x" * MAX + f" … [cut: this line has {MAX + 5:,} bytes]", "next"]


@pytest.mark.parametrize("end", [b"\r\n", b"\r\r\n"])
@pytest.mark.parametrize("chunk_size", [1, 7, MAX, 1000])
def test_size_of_a_cut_line_is_without_its_end(chunk_size: int, end: bytes) -> None:
    r"""The ``\r`` of ``\r\n`` is not part of the line, however its bytes come."""
    data = b"x" * (MAX + 5) + end + b"next\n"
    parts = [data[start : start + chunk_size] for start in range(0, len(data), chunk_size)]

    assert lines_of(parts) == ["x" * MAX + f" … [cut: this line has {MAX + 5:,} bytes]", "next"]


def test_long_line_without_end_is_cut_too() -> None:
    """A log that ends inside a line over the limit shows the line's beginning."""
    assert lines_of([b"x" * MAX, b"yz"]) == ["x" * MAX + f" … [cut: this line has {MAX + 2} bytes]"]


def test_line_without_end_takes_no_more_memory_than_the_limit() -> None:
    """64 MiB without a newline leave no trace in memory."""
    assembler = LineAssembler(longest=MAX)
    chunk = b"x" * 65536
    tracemalloc.start()
    try:
        for _ in range(1024):
            assembler.feed(chunk, now=0.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 512 * 1024
    assert assembler.position == 0


def test_progress_bar_takes_no_more_memory_than_its_states() -> None:
    """A bar that is drawn for hours without a newline is forgotten state by state."""
    assembler = LineAssembler(longest=MAX)
    for number in range(10_000):
        assembler.feed(b"\r%5d" % number, now=number * 0.001)

    assert assembler.received - assembler.position < 20
