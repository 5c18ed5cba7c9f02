"""A service as one process with a log file, which takes all its children with it when it goes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from local_services.guardian import forget_process, watch_process
from local_services.process_tree import TAG_VARIABLE, kill_all

Progress = Callable[[str], None]
"""Takes a sentence about what is waited for."""


class ServiceError(RuntimeError):
    """A service did not start or does not answer. The message holds the end of its log."""


class ServiceProcess:
    """A command that runs until it is stopped, in a session of its own.

    Whatever ends this process, be it SIGKILL, ends the command and all it has started too.

    :param name: What it is called in messages.
    :param command: Program and arguments.
    :param env: Its whole environment.
    :param log_path: The file that takes what it prints; a restart appends.
    :param cwd: Its working directory.
    """

    def __init__(
        self,
        name: str,
        *,
        command: Sequence[str],
        env: Mapping[str, str],
        log_path: Path,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._command = list(command)
        self._env = dict(env)
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None
        self._tag = ""

    @property
    def pid(self) -> int:
        """The pid of the command, while it runs and after."""
        if self._process is None:
            raise ServiceError(f"{self.name} has not been started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the command itself has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the command and return at once."""
        if self.is_running:
            raise ServiceError(f"{self.name} is running already")
        self._tag = uuid.uuid4().hex
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env={**self._env, TAG_VARIABLE: self._tag},
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        watch_process(self._tag, self._process.pid)

    def stop(self, *, grace: float = 10.0) -> None:
        """Ask the command to end (SIGTERM), then kill what is left after ``grace`` seconds."""
        if self._process is not None and self.is_running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
        self.kill()

    def kill(self) -> None:
        """Kill the command and all it has started (SIGKILL), and see them gone."""
        if self._process is None:
            return
        kill_all(self._tag, self._process.pid)
        self._process.wait()
        forget_process(self._tag)

    def log_tail(self, lines: int = 30) -> str:
        """Return the end of what it printed."""
        if not self.log_path.exists():
            return ""
        text = self.log_path.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def wait_until(self, is_ready: Callable[[], bool], *, what: str, timeout: float) -> None:
        """Return once ``is_ready`` says so.

        :raises ServiceError: if the command ends before, or after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while not is_ready():
            if not self.is_running:
                raise ServiceError(f"{self.name} ended before {what}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"{self.name}: waited {timeout:g} s for {what}:\n{self.log_tail()}"
                )
            time.sleep(0.05)


def environment_without(*prefixes: str) -> dict[str, str]:
    """Return this process's environment less the variables that start with one of ``prefixes``."""
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
