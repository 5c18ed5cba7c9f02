"""One container: a process with namespaces of its own, and what Kubernetes sees of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from local_services.kubernetes.async_api import Seen
from local_services.kubernetes.kubelet.node import now

_NAMESPACES = ("--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
_KILL_TIMEOUT = 10.0

Mount = tuple[Path, str]


class Container:
    """A container of a pod, over all its restarts.

    :param spec: As the pod has it.
    :param is_init: Whether it has to end before the others start.
    :param log_folder: The folder for its logs, one for each start.
    """

    def __init__(self, spec: Seen, *, is_init: bool, log_folder: Path) -> None:
        self.spec = spec
        self.name = str(spec["name"])
        self.is_init = is_init
        self.restarts = 0
        self.state: Seen = {"waiting": {"reason": "PodInitializing"}}
        self.last_state: Seen = {}
        self.is_ready = self.is_started = False
        self.env: dict[str, str] = {}
        self._log_folder = log_folder
        self._process: asyncio.subprocess.Process | None = None

    @property
    def field(self) -> str:
        """How events name it."""
        return f"spec.{'initContainers' if self.is_init else 'containers'}{{{self.name}}}"

    @property
    def is_running(self) -> bool:
        """Whether its process has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def exit_code(self) -> int | None:
        """The exit code of its last process, if that has ended."""
        code = self.state.get("terminated", {}).get("exitCode")
        return None if code is None else int(code)

    def log_path(self, restart: int) -> Path:
        """Return the file that took what it printed after so many restarts."""
        return self._log_folder / f"{self.name}.{restart}.log"

    def wait_for(self, reason: str, message: str = "") -> None:
        """Note why it does not run."""
        self.state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}

    async def start(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        sandbox: str,
        hostname: str,
        mounts: Sequence[Mount],
        folder: Path,
    ) -> None:
        """Start its process in the network namespace ``sandbox``."""
        self.env = dict(env)
        script = _script(hostname, mounts, self.spec.get("workingDir") or str(folder))
        with self.log_path(self.restarts).open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *("ip", "netns", "exec", sandbox, "unshare", *_NAMESPACES),
                *("bash", "-c", script, "--", *command),
                env=self.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.state = {"running": {"startedAt": now()}}
        self.is_started = "startupProbe" not in self.spec
        self.is_ready = self.is_started and not self.is_init and "readinessProbe" not in self.spec

    async def ended(self) -> int:
        """Return the exit code of its process, once that has ended."""
        assert self._process is not None
        code = await self._process.wait()
        code = code if code >= 0 else 128 - code
        began = self.state.get("running", {}).get("startedAt", now())
        self.state = {
            "terminated": {
                "exitCode": code,
                "reason": "Error" if code else "Completed",
                "startedAt": began,
                "finishedAt": now(),
                "containerID": self._identity(),
            }
        }
        self.is_started = False
        self.is_ready = self.is_init and code == 0
        return code

    def begin_again(self) -> None:
        """Count a restart."""
        self.restarts += 1

    async def stop(self, grace: float) -> None:
        """Ask it to end, and kill it after ``grace`` seconds."""
        if not self.is_running:
            return
        self._signal(signal.SIGTERM)
        if not await self._ends_within(grace):
            self.kill()
            await self._ends_within(_KILL_TIMEOUT)

    def kill(self) -> None:
        """Kill it with all its processes, which are gone when its first one is."""
        if self.is_running:
            assert self._process is not None
            with contextlib.suppress(ProcessLookupError):
                # The kernel ends its child with it, and with that child the PID namespace.
                self._process.kill()

    def first_pid(self) -> int | None:
        """Return this machine's PID of its process 1, if that runs."""
        if not self.is_running:
            return None
        assert self._process is not None
        pid = self._process.pid
        with contextlib.suppress(OSError, IndexError, ValueError):
            return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        return None

    def status(self) -> Seen:
        """Return its ``containerStatus``."""
        return {
            "name": self.name,
            "image": self.spec["image"],
            "imageID": f"process://{self.spec['image']}" if self._process else "",
            "ready": self.is_ready,
            "started": self.is_started,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last_state,
            **({"containerID": self._identity()} if self._process else {}),
        }

    def _identity(self) -> str:
        return f"process://{self._log_folder.name}-{self.name}-{self.restarts}"

    def _signal(self, number: signal.Signals) -> None:
        pid = self.first_pid()
        if pid is None:
            self.kill()
            return
        with contextlib.suppress(OSError):
            os.kill(pid, number)

    async def _ends_within(self, seconds: float) -> bool:
        assert self._process is not None
        try:
            await asyncio.wait_for(asyncio.shield(self._process.wait()), seconds)
        except (TimeoutError, asyncio.TimeoutError):
            return False
        return True


def _script(hostname: str, mounts: Sequence[Mount], folder: str) -> str:
    """What the first process does before it becomes the container's own."""
    lines = ["set -e", f"hostname {shlex.quote(hostname)}"]
    for what, where in mounts:
        target = shlex.quote(where)
        lines.append(f"test -e {target} || {'mkdir -p' if what.is_dir() else 'touch'} {target}")
        lines.append(f"mount --bind {shlex.quote(str(what))} {target}")
    lines += [f"cd {shlex.quote(folder)}", "set +e", 'exec "$@"']
    return "; ".join(lines)
