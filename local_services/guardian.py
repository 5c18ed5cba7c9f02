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
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from local_services.process_tree import kill_all


def watch_process(tag: str, pid: int) -> None:
    """Have a service killed if this process dies before it says :func:`forget_process`."""
    _tell({"watch": tag, "pid": pid})


def forget_process(tag: str) -> None:
    """Take back :func:`watch_process`."""
    _tell({"forget": tag})


def watch_folder(path: Path) -> None:
    """Have a folder deleted when this process ends."""
    _tell({"folder": str(path)})


_lock = threading.Lock()


def _tell(message: dict[str, object]) -> None:
    with _lock:
        pipe = _guardian_input()
        pipe.write(json.dumps(message) + "\n")
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
    services: dict[str, int] = {}
    folders: list[str] = []
    for line in lines:
        message = json.loads(line)
        if "watch" in message:
            services[message["watch"]] = message["pid"]
        elif "forget" in message:
            services.pop(message["forget"], None)
        else:
            folders.append(message["folder"])
    for tag, pid in services.items():
        with contextlib.suppress(RuntimeError):
            kill_all(tag, pid)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _guard(sys.stdin)
