"""Tells why a job waits: a line for each new fact."""

from __future__ import annotations

import asyncio

from anyio import CancelScope

from airflow_synapse.rayjobs.models import PENDING
from airflow_synapse.rayjobs.reporting import Logger
from airflow_synapse.rayjobs.waiting.reasons import Reason
from airflow_synapse.rayjobs.watching.cluster_watch import ClusterWatch

_FIRST_REPEAT = 60.0
_LONGEST_REPEAT = 3600.0
"""Seconds until a fact that was told before may be told again, which double each time."""


class WaitingLog:
    """Looks for the reason why a job waits, and logs what is new.

    :param watch: The cluster's watch.
    :param job_id: The job's submission ID.
    :param logger: Where to tell.
    """

    def __init__(self, watch: ClusterWatch, job_id: str, *, logger: Logger) -> None:
        self._watch = watch
        self._job_id = job_id
        self._logger = logger
        self._last_text = ""
        self._told: dict[str, tuple[float, float]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._is_over = False
        self.reason: Reason | None = None
        """The last reason that was seen."""

    def see(self, status: str) -> None:
        """Begin to look if the job is PENDING, and end it if it no longer is."""
        if status != PENDING:
            self._end()
        elif self._looking is None:
            self._looking = asyncio.create_task(self._look_again_and_again())

    async def close(self) -> None:
        """End it, and see it end."""
        self._end()
        if self._looking is not None:
            with CancelScope(shield=True):  # in a cancelled scope, anyio cancels each await
                await asyncio.wait({self._looking}, timeout=0.5)

    def _end(self) -> None:
        self._is_over = True  # before Python 3.12, libraries may swallow a cancellation
        if self._looking is not None:
            self._looking.cancel()

    async def _look_again_and_again(self) -> None:
        await asyncio.sleep(self._watch.pace.waiting_is_news_after)
        while not self._is_over:
            try:
                reason = await self._watch.reason(self._job_id)
                self.note(reason, asyncio.get_running_loop().time())
            except Exception as exc:  # noqa: BLE001  # no reason for a wait is worth the watch of the job
                self._logger.debug("Why Ray job %s waits can't be told: %r", self._job_id, exc)
            await asyncio.sleep(self._watch.pace.waiting_look)

    def note(self, reason: Reason | None, now: float) -> None:
        """Keep the reason, and log it if it is news.

        :param now: The time of the event loop.
        """
        if reason is None:
            return
        self.reason = reason
        again_at, pause = self._told.get(reason.fact, (now, _FIRST_REPEAT))
        if reason.text == self._last_text or now < again_at:
            return
        self._logger.info("Ray job %s %s.", self._job_id, reason.text)
        self._last_text = reason.text
        self._told[reason.fact] = (now + pause, min(_LONGEST_REPEAT, 2 * pause))
