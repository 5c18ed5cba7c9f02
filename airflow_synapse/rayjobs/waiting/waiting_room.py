"""Says why jobs wait on one cluster, with one look per interval, however many jobs wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone

from anyio import move_on_after

from airflow_synapse.rayjobs.client.jobs_api import JobsApi
from airflow_synapse.rayjobs.waiting.cluster_state import Ask, ClusterState
from airflow_synapse.rayjobs.waiting.looking import find_ask, look_at
from airflow_synapse.rayjobs.waiting.reasons import (
    Cause,
    Reason,
    likely_reason_of,
    reason_of,
)

LOOK_INTERVAL = 5.0
"""Seconds between two looks at a cluster."""

_LONGEST_LOOK = 5.0
"""Seconds that a look may take, with the time that its requests wait for their turn."""

_LEAST_REST = 2.0
"""The least time between two looks, in times of how long the last one took."""


class WaitingRoom:
    """Answers why jobs wait. All who ask within an interval share one look at the cluster.

    :param interval: Seconds between two looks.
    """

    def __init__(self, *, interval: float = LOOK_INTERVAL) -> None:
        self._interval = interval
        self._next_at = 0.0
        self._state = ClusterState()
        self._reasons: dict[Ask, Reason | None] = {}
        self._installing_since: dict[str, float] = {}
        self._looking = asyncio.Lock()

    async def reason(self, api: JobsApi, job_id: str) -> Reason | None:
        """Return why the job waits, None if nothing tells. A cluster that does not answer is no error.

        :param api: What the cluster is asked over, if it is time for a look.
        """
        async with self._looking:
            if asyncio.get_running_loop().time() >= self._next_at:
                await self._look(api)
        ask = self._state.asks.get(job_id)
        if ask is None:
            return None
        if ask.environment not in self._state.installing:
            ask = ask.room
        if ask not in self._reasons:  # what asks for the same waits for the same
            self._reasons[ask] = self._reason_of(ask)
        return self._reasons[ask]

    async def reason_in_hindsight(self, api: JobsApi, job_id: str) -> Reason | None:
        """Return why a job probably waited that has just ended and that nobody saw waiting.

        :param api: What the cluster is asked over.
        """
        with move_on_after(_LONGEST_LOOK):
            ask = await find_ask(api, job_id)
            if ask is None:
                return None
            async with self._looking:
                if (
                    ask not in self._state.asks.values()
                ):  # many jobs that ask for the same share a look
                    self._state = await look_at(api, self._state, also={job_id: ask})
                    self._reasons.clear()
                return likely_reason_of(ask, self._state)
        return None

    async def _look(self, api: JobsApi, *, also: Mapping[str, Ask] | None = None) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with move_on_after(_LONGEST_LOOK):
            self._state = await look_at(api, self._state, also=also)
            self._reasons.clear()
        now, since = time.time(), self._installing_since
        self._installing_since = {env: since.get(env, now) for env in self._state.installing}
        took = loop.time() - began
        self._next_at = began + max(self._interval, (1 + _LEAST_REST) * took)

    def _reason_of(self, ask: Ask) -> Reason | None:
        reason = reason_of(ask, self._state)
        if reason is None or reason.cause is not Cause.ENVIRONMENT:
            return reason
        # Ray does not say when it began.
        first_seen = datetime.fromtimestamp(self._installing_since[ask.environment], timezone.utc)
        text = f"{reason.text}, since at least {first_seen:%H:%M:%S} UTC"
        return replace(reason, text=text)
