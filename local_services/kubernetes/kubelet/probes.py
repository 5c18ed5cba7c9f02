"""The probes of a container: does it live, has it started, can it be asked?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aiohttp import ClientError, ClientSession, ClientTimeout

from local_services.kubernetes.async_api import Seen
from local_services.kubernetes.kubelet.container import Container
from local_services.kubernetes.kubelet.events import PodEvents

KINDS = ("startupProbe", "livenessProbe", "readinessProbe")

_WAIT_FOR_START = 0.2
_LONGEST_OUTPUT = 10 * 1024

Answer = tuple[bool, str]


@dataclass(frozen=True)
class ProbeWatch:
    """Probes one container from its start to its end.

    :param changed: Called when it has become ready, or is not any more.
    :param restart: Called with the reason when it has to be started again.
    """

    container: Container
    address: str
    events: PodEvents
    changed: Callable[[], Awaitable[None]]
    restart: Callable[[str], Awaitable[None]]

    async def watch(self, kind: str) -> None:
        """Probe until the container ends, or until it has started."""
        probe = self.container.spec[kind]
        await asyncio.sleep(probe.get("initialDelaySeconds") or 0)
        successes = failures = 0
        while self.container.is_running:
            if kind != "startupProbe" and not self.container.is_started:
                await asyncio.sleep(_WAIT_FOR_START)
                continue
            is_fine, why = await self._ask(probe)
            successes, failures = (successes + 1, 0) if is_fine else (0, failures + 1)
            if not is_fine:
                await self._tell_failure(kind, why)
            if await self._act(kind, probe, successes, failures):
                return
            await asyncio.sleep(probe.get("periodSeconds") or 10)

    async def _tell_failure(self, kind: str, why: str) -> None:
        if self.container.is_running:
            message = f"{_word(kind)} probe failed: {why}"
            await self.events.warning("Unhealthy", message, field=self.container.field)

    async def _act(self, kind: str, probe: Seen, successes: int, failures: int) -> bool:
        """Draw the conclusions; whether no more probes are needed."""
        has_passed = successes >= (probe.get("successThreshold") or 1)
        has_failed = failures >= (probe.get("failureThreshold") or 3)
        if kind == "readinessProbe":
            await self._set_ready(has_passed or (self.container.is_ready and not has_failed))
            return False
        if kind == "startupProbe" and has_passed:
            self.container.is_started = True
            await self._set_ready("readinessProbe" not in self.container.spec)
            return True
        if has_failed:
            word = _word(kind).lower()
            await self.restart(
                f"Container {self.container.name} failed {word} probe, will be restarted"
            )
        return has_failed

    async def _set_ready(self, is_ready: bool) -> None:
        if self.container.is_running and is_ready != self.container.is_ready:
            self.container.is_ready = is_ready
            await self.changed()

    async def _ask(self, probe: Seen) -> Answer:
        timeout = probe.get("timeoutSeconds") or 1
        try:
            if "exec" in probe:
                return await self._execute(probe["exec"]["command"], timeout)
            if "httpGet" in probe:
                return await self._get(probe["httpGet"], timeout)
            if "tcpSocket" in probe:
                return await self._connect(probe["tcpSocket"]["port"], timeout)
        except (OSError, ClientError, TimeoutError, asyncio.TimeoutError) as exc:
            return False, repr(exc)
        return True, ""

    async def _execute(self, command: Sequence[str], timeout: float) -> Answer:
        pid = self.container.first_pid()
        if pid is None:
            return False, "the container has ended"
        process = await asyncio.create_subprocess_exec(
            *("nsenter", "--target", str(pid), "--mount", "--net", "--pid", "--uts", "--ipc", "--"),
            *command,
            env=self.container.env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), timeout)
        except (TimeoutError, asyncio.TimeoutError):
            return False, f'command timed out: "{" ".join(command)}" timed out after {timeout}s'
        finally:
            if process.returncode is None:
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
        return process.returncode == 0, said[:_LONGEST_OUTPUT].decode(errors="replace")

    async def _get(self, wanted: Seen, timeout: float) -> Answer:
        url = f"http://{self.address}:{self._port(wanted['port'])}{wanted.get('path') or '/'}"
        async with (
            ClientSession(timeout=ClientTimeout(timeout)) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            is_fine = 200 <= response.status < 400
            return is_fine, f"HTTP probe failed with statuscode: {response.status}"

    async def _connect(self, port: int | str, timeout: float) -> Answer:
        opening = asyncio.open_connection(self.address, self._port(port))
        _, writer = await asyncio.wait_for(opening, timeout)
        writer.close()
        return True, ""

    def _port(self, port: int | str) -> int:
        named = {p.get("name"): p["containerPort"] for p in self.container.spec.get("ports") or []}
        return int(named.get(port, port))


def _word(kind: str) -> str:
    return kind.removesuffix("Probe").capitalize()
