"""Turns bytes of a job's log into lines, and knows up to which byte the lines have been returned.

Pure: no clock and no I/O. The caller says what time it is.
"""

from __future__ import annotations

MAX_LINE_BYTES = 256 * 1024
"""Longer lines are cut: Airflow drops log records of several megabytes (apache/airflow#66158)."""

PROGRESS_INTERVAL = 1.0
"""Seconds between two states of a progress bar (text ended by ``\\r``) that become lines, by default."""


class LineAssembler:
    r"""Turns chunks of bytes, cut anywhere, into the lines of the log.

    Lines come out as they are: indentation, blank lines and ANSI sequences are kept, ``\r\n``
    ends a line like ``\n``, and bytes that are not UTF-8 show as ``\xff``. Of text that is
    overwritten with ``\r``, at most one state per ``progress_interval`` comes out, and always
    the last one.

    :param position: The byte from which lines are wanted. The first chunk must start at
        :attr:`received`, one byte earlier: that byte tells a progress bar from an empty line.
    :param progress_interval: Seconds between two states of a progress bar.
    :param longest: The most bytes of a line before it is cut.
    """

    def __init__(
        self,
        position: int = 0,
        *,
        progress_interval: float = PROGRESS_INTERVAL,
        longest: int = MAX_LINE_BYTES,
    ) -> None:
        self._progress_interval = progress_interval
        self._longest = longest
        self._start = position
        self.received = max(0, position - 1)
        self._partial = bytearray()
        self._cut = 0
        self._returns = 0  # how many \r what is cut ends with, which may be those of \r\n
        self._last_progress = float("-inf")
        self._progress_is_out = False

    @property
    def position(self) -> int:
        """Where a later reader must start so that no line is lost or comes twice."""
        return max(self._start, self.received - len(self._partial) - self._cut)

    @property
    def has_progress(self) -> bool:
        """Whether a progress state is held back that :meth:`tick` will release."""
        return bool(self._states_before(self._partial.rfind(b"\r")))

    def feed(self, data: bytes, now: float) -> list[str]:
        """Take the next bytes and return the lines they complete.

        :param data: The bytes that follow those fed before.
        :param now: A monotonic time in seconds.
        """
        if data and self.received < self._start:
            self._progress_is_out = data[:1] == b"\r"
            self.received += 1
            data = data[1:]
        self.received += len(data)
        end = data.rfind(b"\n")
        lines: list[str] = []
        if end >= 0:
            lines = self._complete(data[:end])
            data = data[end + 1 :]
        self._keep(data)
        return lines + self._drop_overwritten(now)

    def tick(self, now: float) -> list[str]:
        """Return the progress state that was held back, if its time has come."""
        if not self.has_progress or now - self._last_progress < self._progress_interval:
            return []
        return self._release_progress(self._partial.rfind(b"\r"), now)

    def flush(self) -> list[str]:
        """Return the last line if the log ended without a newline."""
        if not self._partial and not self._cut:
            return []
        return self._complete(b"")

    def _complete(self, block: bytes) -> list[str]:
        """Return the lines of ``block``, which ends where a newline stood."""
        block, cut = bytes(self._partial) + block if not self._cut else block, self._cut
        first: list[str] = []
        if cut:
            head, newline, block = block.partition(b"\n")
            head = head.rstrip(b"\r")
            size = cut + len(head) if head else cut - self._returns
            if size:
                first = [_cut_line(bytes(self._partial), len(self._partial) + size)]
            else:
                first = [self._finish(bytes(self._partial) + b"\r")]
            if not newline:
                self._reset()
                return first
        is_plain = b"\r" not in block and len(block) <= self._longest
        if is_plain and not self._progress_is_out:
            lines = _decode(block).split("\n")
        else:
            lines = self._finish_each(block)
        self._reset()
        return first + lines

    def _finish_each(self, block: bytes) -> list[str]:
        raw_lines = block.split(b"\n")
        if self._progress_is_out and not raw_lines[0].strip(b"\r"):
            del raw_lines[0]  # the newline after a progress bar whose last state is out
        return [self._finish(raw) for raw in raw_lines]

    def _reset(self) -> None:
        self._partial.clear()
        self._cut = 0
        self._returns = 0
        self._progress_is_out = False

    def _keep(self, data: bytes) -> None:
        room = self._longest - len(self._partial) if not self._cut else 0
        self._partial += data[:room]
        cut = data[room:]
        self._cut += len(cut)
        text = cut.rstrip(b"\r")
        self._returns = len(cut) - len(text) + (0 if text else self._returns)

    def _drop_overwritten(self, now: float) -> list[str]:
        """Forget overwritten states of the unfinished line."""
        # A \r at the very end may be half of \r\n.
        end = self._partial.rfind(b"\r", 0, len(self._partial) - 1)
        states = self._states_before(end)
        if not states or self._cut:
            return []
        if now - self._last_progress >= self._progress_interval:
            return self._release_progress(end, now)
        del self._partial[: states.rfind(b"\r") + 1]
        return []

    def _states_before(self, end: int) -> bytes:
        r"""Return the states of the unfinished line up to one of its ``\r``.

        A line that has had nothing but ``\r`` has none, and stays whole: a reader that resumed
        inside it would take it for a bar whose last state is out.
        """
        return bytes(self._partial[: max(end, 0)]).rstrip(b"\r")

    def _release_progress(self, end: int, now: float) -> list[str]:
        states = self._states_before(end)
        del self._partial[: end + 1]
        self._last_progress = now
        self._progress_is_out = True
        return [self._finish(states)]

    def _finish(self, raw: bytes) -> str:
        """Return one raw line as text: the last of its overwritten states, cut if too long."""
        if b"\r" in raw:
            raw = raw.rstrip(b"\r")
            raw = raw[raw.rfind(b"\r") + 1 :]
        if len(raw) > self._longest:
            return _cut_line(raw[: self._longest], len(raw))
        return _decode(raw)


def _cut_line(kept: bytes, size: int) -> str:
    return f"{_decode(kept)} … [cut: this line has {size:,} bytes]"


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
