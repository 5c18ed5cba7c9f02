"""A process that outlives its owner for as long as it takes to clean up behind it.

An owner that is killed, by SIGTERM, SIGKILL or a closed terminal, runs no code of its own any
more. The guardian notices by the end of its standard input, which the owner holds open.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from local_services.process_tree import kill_all


def watch_process(tag: str, pid: int) -> None:
    """Have a service killed if this process dies before it says :func:`forget_process`."""
    _tell("process", tag, pid)


def forget_process(tag: str) -> None:
    """Take back :func:`watch_process`."""
    _tell("process", tag, None)


def watch_command(tag: str, command: Sequence[str]) -> None:
    """Have a command run after the kills, if this process ends before :func:`forget_command`."""
    _tell("command", tag, list(command))


def forget_command(tag: str) -> None:
    """Take back :func:`watch_command`."""
    _tell("command", tag, None)


def watch_folder(path: Path) -> None:
    """Have a folder deleted when this process ends."""
    _tell("folder", str(path), str(path))


_lock = threading.Lock()


def _tell(kind: str, tag: str, what: object) -> None:
    with _lock:
        pipe = _guardian_input()
        pipe.write(json.dumps([kind, tag, what]) + "\n")
        pipe.flush()


@functools.cache
def _guardian_input() -> IO[str]:
    guardian = subprocess.Popen(
        [sys.executable, "-m", "local_services.guardian"],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert guardian.stdin is not None
    atexit.register(_end, guardian)
    return guardian.stdin


def _end(guardian: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        guardian.communicate(timeout=20)


def _guard(lines: Iterable[str]) -> None:
    watched: dict[str, dict[str, Any]] = {"process": {}, "command": {}, "folder": {}}
    for line in lines:
        kind, tag, what = json.loads(line)
        watched[kind][tag] = what
    for tag, pid in _still_watched(watched["process"]):
        with contextlib.suppress(RuntimeError):
            kill_all(tag, pid)
    for _, command in _still_watched(watched["command"]):
        subprocess.run(command, check=False)
    for _, folder in _still_watched(watched["folder"]):
        shutil.rmtree(folder, ignore_errors=True)


def _still_watched(watched: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(tag, what) for tag, what in watched.items() if what is not None]


if __name__ == "__main__":
    _guard(sys.stdin)
