"""Polls the status of all watched jobs on one cluster with as few requests as possible.

Each watcher says when it wants to look at its job next. Looks that are due are answered one by one
with ``GET /api/jobs/{id}`` or, if many jobs are watched, all together with ``GET /api/jobs/``. That
list has all jobs that a cluster remembers, so its cost is measured anew each time.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from airflow_synapse.exceptions import AirflowSynapseError, RayClusterUnreachableError
from airflow_synapse.rayjobs.client.jobs_api import JobsApi
from airflow_synapse.rayjobs.models import JobInfo
from airflow_synapse.rayjobs.patience import Backoff
from airflow_synapse.rayjobs.reporting import OUTAGES, Metrics
from airflow_synapse.rayjobs.watching.pace import Pace

_MANY = 20
"""The number of watched jobs from which the list of all jobs may be cheaper."""

_CHEAPER = 2.0
"""How many times cheaper a list must be than the single looks that it replaces."""

_MOST_SHARE_OF_LISTS = 0.5
_LEAST_SHARE_OF_LISTS = 0.3
"""The share of the time that lists may take; more if a list does not hold up other requests for long."""

_WORTH_IS_RECKONED_EVERY = 0.25
"""Seconds between two decisions whether a list is worth it, because each goes through all looks."""

_LONGEST_PAUSE_AFTER_A_BAD_LIST = 300.0
"""Seconds. The pauses after a list that could not be read grow up to this, because such a list is a burden to
the cluster. The first is short, because without lists thousands of jobs wait for single looks."""

_SOON = 0.5
"""The share of its interval by which a look may be early if its answer is available anyway. This makes
the looks of many jobs fall due together, so that one list answers them all."""

_AT_A_TIME = 25
"""Watchers woken before other tasks of the event loop get their turn."""

_OUTAGE_AFTER = 2
"""Failed requests in a row, about different things, after which the problem is the cluster and not one
job."""

_THE_CLUSTER = ""
"""Stands for the cluster itself among the job IDs whose requests failed."""

_LONGEST_PROBE = 5.0
"""Seconds for which a request that gets no answer holds up requests for other jobs."""


@dataclass(eq=False)
class _Look:
    """A wish to look at a job's status at a time, on the event loop's clock."""

    job_id: str
    asked_at: float
    at: float
    answer: asyncio.Future[JobInfo]
    knows_of_outage: bool
    backoff: Backoff

    def takes_answer_of(self, now: float) -> bool:
        """Return whether an answer that is available now will do, though it may be early."""
        return self.at - now <= _SOON * (self.at - self.asked_at)


class StatusBoard:
    """Answers looks at jobs of one cluster, each in its turn.

    While the cluster is unreachable only one request at a time finds out whether it is back, with
    growing pauses, however many jobs are watched.

    :param api: The cluster's Jobs API.
    :param pace: The pauses between tries to reach it.
    :param metrics: Where outages are counted.
    """

    def __init__(self, api: JobsApi, *, pace: Pace, metrics: Metrics) -> None:
        self._api = api
        self._pace = pace
        self._metrics = metrics
        self._looks: dict[str, set[_Look]] = {}
        self._later: list[tuple[float, int, _Look]] = []
        self._due: deque[_Look] = deque()
        self._urgent: deque[_Look] = deque()
        self._numbers = itertools.count()
        self._has_news = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[object]] = set()
        self._failures = 0
        self._failing: set[str] = set()
        self._last_error: RayClusterUnreachableError | None = None
        self._backoff = pace.backoff()
        self._list_seconds = 0.0
        self._next_list_at = 0.0
        self._bad_lists = Backoff(first=pace.list_retry, cap=_LONGEST_PAUSE_AFTER_A_BAD_LIST)

    async def look(self, job_id: str, *, at: float, patience: float | None = None) -> JobInfo:
        """Return what the cluster knows about the job, at the time ``at`` or as soon after as it can.

        :param at: When to look, on the event loop's clock.
        :param patience: For how many seconds the caller, who knows that the cluster is unreachable,
            leaves it to this board to try again. None: the caller has to hear of an outage.
        :raises RayClusterUnreachableError: if the cluster is unreachable.
        :raises AirflowSynapseError: what else :meth:`.JobsApi.get_info` raises.
        """
        loop = asyncio.get_running_loop()
        look = _Look(
            job_id,
            loop.time(),
            at,
            loop.create_future(),
            patience is not None,
            self._pace.backoff(),
        )
        self._looks.setdefault(job_id, set()).add(look)
        self._queue(look)
        if self._running is None:
            self._running = loop.create_task(self._run())
            self._running.add_done_callback(self._note_stop)
        giving_up = None
        if patience is not None:
            giving_up = loop.call_later(patience, self._give_up, look)
        try:
            return await look.answer
        finally:
            if giving_up is not None:
                giving_up.cancel()
            self._forget(look)

    def hurry(self, job_id: str) -> None:
        """Look at the job now if there is a request to spare: something says that it may have ended."""
        budget = self._api.budget
        if budget.is_short or self._failures or len(self._urgent) >= budget.places:
            return
        for look in self._looks.get(job_id, ()):
            look.at = asyncio.get_running_loop().time()
            self._urgent.append(look)
            self._has_news.set()

    async def close(self) -> None:
        """End all that is under way."""
        tasks = [task for task in (self._running, *self._asking) if task is not None]
        self._running = None
        while tasks:
            for task in tasks:
                task.cancel()  # more than once: before Python 3.12 libraries may swallow a cancellation
            _, left = await asyncio.wait(tasks, timeout=0.5)
            tasks = list(left)

    def _note_stop(self, running: asyncio.Task[None]) -> None:
        """Fail all waiting looks if the board broke."""
        error = None if running.cancelled() else running.exception()
        if isinstance(error, Exception):
            self._running = None
            for look in self._all_looks():
                _fail(look, error)

    # Which looks are due

    def _queue(self, look: _Look) -> None:
        heapq.heappush(self._later, (look.at, next(self._numbers), look))
        self._has_news.set()

    def _forget(self, look: _Look) -> None:
        looks = self._looks[look.job_id]
        looks.discard(look)
        if not looks:
            del self._looks[look.job_id]

    def _give_up(self, look: _Look) -> None:
        _fail(look, self._error_for(look, self._last_error))

    def _all_looks(self) -> list[_Look]:
        return [look for looks in self._looks.values() for look in looks]

    def _collect_due(self) -> None:
        """Move looks that are due from the heap to the queue; drop those answered or queued again."""
        now = asyncio.get_running_loop().time()
        while self._later and self._later[0][0] <= now:
            at, _, look = heapq.heappop(self._later)
            if at == look.at and not look.answer.done():
                self._due.append(look)

    def _next_due(self) -> Iterator[_Look]:
        """Take the look that has been due the longest, if there is one. Urgent looks come first."""
        while self._urgent or self._due:
            look = (self._urgent or self._due).popleft()
            if not look.answer.done():
                yield look
                return

    async def _until_due(self) -> None:
        while True:
            self._collect_due()
            if self._urgent or self._due:
                return
            left = None
            if self._later:
                left = max(0.0, self._later[0][0] - asyncio.get_running_loop().time())
            self._has_news.clear()
            waiting = asyncio.ensure_future(self._has_news.wait())
            try:
                await asyncio.wait({waiting}, timeout=left)
            finally:
                waiting.cancel()

    # Looking

    async def _run(self) -> None:
        while True:
            await self._until_due()
            if self._failures:
                await self._probe()
            elif self._is_list_cheaper():
                await self._look_at_all()
            else:
                await self._look_at_one()

    def _is_list_cheaper(self) -> bool:
        """Return whether the list would replace enough single looks, now and soon."""
        now = asyncio.get_running_loop().time()
        looks_per_list = self._list_seconds / self._api.budget.pace.look_seconds
        worth = max(_MANY, _CHEAPER * looks_per_list)
        if now < self._next_list_at or len(self._looks) < worth:
            return False
        self._next_list_at = now + _WORTH_IS_RECKONED_EVERY
        return sum(1 for look in self._all_looks() if look.takes_answer_of(now)) >= worth

    async def _look_at_one(self) -> None:
        if len(self._asking) >= self._api.budget.places:
            await asyncio.wait(
                self._asking, timeout=_LONGEST_PROBE, return_when=asyncio.FIRST_COMPLETED
            )
        for look in self._next_due():
            task: asyncio.Task[object] = asyncio.create_task(self._ask(look))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _probe(self) -> None:
        """Find out whether the cluster is back, with one request."""
        if self._asking:
            await asyncio.wait(self._asking, timeout=_LONGEST_PROBE)
        for look in self._next_due():
            task: asyncio.Task[object] = asyncio.create_task(self._ask(look))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
            await asyncio.wait({task}, timeout=_LONGEST_PROBE)
        if self._is_away and self._last_error is not None:
            await asyncio.sleep(self._backoff.next_pause(self._last_error.retry_after))

    async def _ask(self, look: _Look) -> None:
        try:
            info = await self._api.get_info(look.job_id)
        except RayClusterUnreachableError as error:
            await self._note_failure(look, error)
        except AirflowSynapseError as error:
            self._note_success()
            _fail(look, error)
        except Exception as error:  # noqa: BLE001  # the watcher must get it, not this task
            _fail(look, error)
        else:
            self._note_success()
            _answer(look, info)

    def _pause_between_lists(self) -> float:
        """Return the seconds that are left to other requests, so that they wait little on average."""
        if not self._list_seconds:
            return 0.0
        bearable = 2 * self._api.budget.pace.bearable_rise / self._list_seconds
        share = min(_MOST_SHARE_OF_LISTS, max(_LEAST_SHARE_OF_LISTS, bearable))
        return self._list_seconds * (1 / share - 1)

    async def _look_at_all(self) -> None:
        now = asyncio.get_running_loop().time()
        try:
            jobs, self._list_seconds = await self._api.list_infos(self._looks)
        except AirflowSynapseError:
            self._next_list_at = now + self._bad_lists.next_pause()
            return
        self._bad_lists.reset()
        self._note_success()
        self._next_list_at = asyncio.get_running_loop().time() + self._pause_between_lists()
        await self._answer_with(jobs)

    async def _answer_with(self, jobs: Mapping[str, JobInfo]) -> None:
        """Answer what is due or soon is, and what has ended. A job that is not listed is asked for."""
        now = asyncio.get_running_loop().time()
        for number, look in enumerate(self._all_looks()):
            info = jobs.get(look.job_id)
            if info is None:
                if look.at <= now:
                    await self._ask(look)
            elif info.is_terminal or look.takes_answer_of(now):
                _answer(look, info)
            if number % _AT_A_TIME == _AT_A_TIME - 1:
                await asyncio.sleep(0)

    # Outages

    @property
    def _is_away(self) -> bool:
        """Whether the cluster has a problem, and not one job: its own answers may be all that fails."""
        return self._failures >= _OUTAGE_AFTER and len(self._failing) > 1

    def _note_success(self) -> None:
        self._failures = 0
        self._failing.clear()
        self._backoff.reset()

    async def _note_failure(self, look: _Look, error: RayClusterUnreachableError) -> None:
        """Try again later for a caller that knows of the outage, and tell all others who wait."""
        was_away = self._is_away
        self._failures += 1
        self._failing.add(look.job_id)
        self._last_error = error
        if self._failures >= _OUTAGE_AFTER and not self._is_away:
            await self._ask_for_something_else()
        if not look.knows_of_outage:
            _fail(look, error)
        elif not look.answer.done():
            now = asyncio.get_running_loop().time()
            look.at = now + look.backoff.next_pause(error.retry_after)
            self._queue(look)
        if self._is_away and not was_away:
            self._metrics.count(OUTAGES)
        if self._is_away:
            await self._tell_others(error)

    async def _ask_for_something_else(self) -> None:
        """Find out whether the cluster has a problem or only the one job that was asked for in vain."""
        try:
            await self._api.get_version()
        except RayClusterUnreachableError:
            self._failing.add(_THE_CLUSTER)
        except AirflowSynapseError:
            pass  # that is an answer
        else:
            self._note_success()

    async def _tell_others(self, error: RayClusterUnreachableError) -> None:
        now = asyncio.get_running_loop().time()
        uninformed = [
            look for look in self._all_looks() if look.at <= now and not look.knows_of_outage
        ]
        for number, look in enumerate(uninformed):
            _fail(look, self._error_for(look, error))
            if number % _AT_A_TIME == _AT_A_TIME - 1:
                await asyncio.sleep(0)

    def _error_for(
        self, look: _Look, error: RayClusterUnreachableError | None
    ) -> RayClusterUnreachableError:
        """Return an error of its own for each: they are raised in different tasks."""
        if error is not None:
            return error.about(look.job_id)
        return self._api.unreachable("it did not answer in time", look.job_id)


def _answer(look: _Look, info: JobInfo) -> None:
    if not look.answer.done():
        look.answer.set_result(info)


def _fail(look: _Look, error: Exception) -> None:
    if not look.answer.done():
        look.answer.set_exception(error)
