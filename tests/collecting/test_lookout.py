"""What a triggerer does on a cluster for jobs that nobody wants any more."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from airflow.sdk.execution_time import cache  # noqa: F401  # as a triggerer has

from airflow_synapse.collecting import lookout
from airflow_synapse.collecting.lookout import Lookout, Seats
from airflow_synapse.collecting.orphans import CollectPace
from airflow_synapse.exceptions import RayClusterGoneError
from airflow_synapse.hooks.cluster_ref import ClusterRef
from airflow_synapse.hooks.connection import RayConnection
from airflow_synapse.rayjobs.reporting import ORPHANS_STOPPED, NoMetrics
from tests.collecting.airflow_states import HERE, Airflow, a_task, add_job, until
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer, Delay
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER
from tests.triggers.watching import connect

QUICK = CollectPace(interval=0.03, gone_after=0.2)
TRAIN = a_task("train")


def ours(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Our own lines; Airflow has some to say about its configuration."""
    return [one for one in caplog.records if one.name.startswith("airflow_synapse")]


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in ours(caplog)]


class Counter(NoMetrics):
    """Counts what is counted."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def count(self, name: str, value: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + value


@pytest.fixture
async def stub(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[StubDashboard]:
    caplog.set_level(logging.INFO)
    async with StubDashboard() as stub:
        connect(monkeypatch, stub.url)
        yield stub


@pytest.fixture
def airflow() -> Airflow:
    return Airflow()


@pytest.fixture
def metrics() -> Counter:
    return Counter()


Look = Callable[..., Any]


@pytest.fixture
def looking(airflow: Airflow, metrics: Counter) -> Look:
    """``with looking():`` has a triggerer look at ``ray_default`` again and again."""

    @contextmanager
    def looking(
        conn_id: str = "ray_default", seats: Seats | None = None, pace: CollectPace = QUICK
    ) -> Iterator[None]:
        lookout = Lookout(
            ClusterRef(conn_id),
            deployment=HERE,
            pace=pace,
            ask=airflow.ask,
            seats={} if seats is None else seats,
            metrics=metrics,
        )
        task = asyncio.create_task(lookout.keep_looking())
        yield
        assert not task.done()
        task.cancel()

    return looking


async def some_looks(stub: StubDashboard, number: int = 5) -> None:
    """Wait for so many more looks."""
    enough = stub.count(routes.LIST_JOBS) + number + 1
    await until(lambda: stub.count(routes.LIST_JOBS) >= enough)


async def test_job_of_a_task_that_is_over_is_stopped(
    stub: StubDashboard,
    airflow: Airflow,
    metrics: Counter,
    looking: Look,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two looks agree; then a line in the triggerer's log and a metric say so, once."""
    orphan = add_job(stub, "orphan", TRAIN)
    wanted = add_job(stub, "wanted", a_task("other"))
    airflow.states = {TRAIN: "failed", a_task("other"): "deferred"}

    with looking():
        await until(lambda: metrics.counts.get(ORPHANS_STOPPED))
        await some_looks(stub)

    assert (orphan.status, wanted.status) == ("STOPPED", "RUNNING")
    (told,) = messages(caplog)
    assert f"Ray job orphan on {stub.url} was stopped" in told
    assert "nobody wants it any more: its task dag.train of run run is failed." in told
    assert metrics.counts[ORPHANS_STOPPED] == 1


@pytest.mark.parametrize(
    "state", [None, "scheduled", "queued", "running", "deferred", "up_for_retry"]
)
async def test_job_that_somebody_may_take_over_is_left(
    stub: StubDashboard, airflow: Airflow, looking: Look, state: str | None
) -> None:
    """However many looks there are."""
    job = add_job(stub, "j", TRAIN)
    airflow.states = {TRAIN: state}

    with looking():
        await some_looks(stub, 12)

    assert job.status == "RUNNING"


async def test_job_of_a_deleted_run_is_stopped(
    stub: StubDashboard, airflow: Airflow, looking: Look, caplog: pytest.LogCaptureFixture
) -> None:
    """Once the task has been gone for long enough."""
    job = add_job(stub, "j", a_task("train", 3))

    with looking():
        await until(lambda: messages(caplog))

    assert job.status == "STOPPED"
    assert "Airflow no longer has its task dag.train[3] of run run." in messages(caplog)[0]


async def test_one_look_is_one_request_and_one_message(
    stub: StubDashboard, airflow: Airflow, looking: Look
) -> None:
    """However many jobs there are, the cluster gets one request and Airflow one message for each DAG."""
    tasks = [a_task("train", index) for index in range(300)]
    for task in tasks:
        add_job(stub, f"job-{task.map_index}", task)
    airflow.states = dict.fromkeys(tasks, "running")

    with looking():
        await until(lambda: len(airflow.asked) >= 3)

    assert len(stub.calls) == stub.count(routes.LIST_JOBS)
    assert stub.count(routes.LIST_JOBS) - len(airflow.asked) in (0, 1)


async def test_nothing_is_asked_about_other_people_s_jobs(
    stub: StubDashboard, airflow: Airflow, looking: Look
) -> None:
    """Without a job of its own there is nothing to ask Airflow."""
    add_job(stub, "theirs", TRAIN).request["metadata"]["airflow_deployment"] = "staging"
    add_job(stub, "over", TRAIN, runtime=0.0)
    stub.add_job("by hand", runtime=NEVER)

    with looking():
        await some_looks(stub)

    assert airflow.asked == []


@pytest.mark.parametrize("error", [asyncio.TimeoutError(), TypeError("an ErrorResponse")])
async def test_without_an_answer_from_airflow_nothing_is_stopped(
    stub: StubDashboard, airflow: Airflow, looking: Look, error: Exception
) -> None:
    """While its API server is away, looks don't count. Afterwards, they do."""
    job = add_job(stub, "j", TRAIN)
    airflow.states = {TRAIN: "failed"}
    airflow.error = error

    with looking():
        await some_looks(stub, 10)
        assert job.status == "RUNNING"
        airflow.error = None
        await until(lambda: job.status == "STOPPED")


async def test_cluster_that_is_away_is_told_once(
    stub: StubDashboard, airflow: Airflow, looking: Look, caplog: pytest.LogCaptureFixture
) -> None:
    """The lookout goes on and says when it is over; jobs that were orphaned meanwhile are stopped."""
    job = add_job(stub, "j", TRAIN)
    airflow.states = {TRAIN: "failed"}
    stub.inject(Answer(503), times=None, route=routes.LIST_JOBS)

    with looking():
        await some_looks(stub)
        stub.heal()
        await until(lambda: job.status == "STOPPED")

    told = messages(caplog)
    assert sum("could not be looked for on ray_default" in line for line in told) == 1
    assert sum("are looked for on ray_default again" in line for line in told) == 1


async def test_outage_between_two_looks_does_not_count(
    stub: StubDashboard, airflow: Airflow, looking: Look
) -> None:
    """The look before it still counts, so a cluster that is often away is collected, too."""
    job = add_job(stub, "j", TRAIN)
    airflow.states = {TRAIN: "failed"}

    with looking(pace=CollectPace(interval=0.03)):
        await until(lambda: airflow.asked)
        stub.inject(Answer(503), times=3, route=routes.LIST_JOBS)
        await until(lambda: job.status == "STOPPED")

    assert len(airflow.asked) <= 2


async def test_head_that_is_slow_with_lists_is_asked_less_often(
    stub: StubDashboard, airflow: Airflow
) -> None:
    """A list keeps the head busy, so the pause after it is twenty times as long."""
    stub.inject(Delay(0.05), times=None, route=routes.LIST_JOBS)
    lookout = Lookout(
        ClusterRef(),
        deployment=HERE,
        pace=QUICK,
        ask=airflow.ask,
        seats={},
        metrics=NoMetrics(),
    )

    await lookout.look()

    assert lookout._least_pause >= 0.05 * 20


async def test_connection_that_does_not_exist_ends_nothing(
    stub: StubDashboard,
    looking: Look,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody may create it again, however long that takes."""
    monkeypatch.setattr(lookout, "_GIVE_UP_AFTER", 0.0)
    with looking("ray_gone"):
        await until(lambda: messages(caplog))

    assert "ray_gone" in messages(caplog)[0]


async def test_two_connections_to_one_cluster_share_a_look(
    stub: StubDashboard, airflow: Airflow, looking: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look per cluster and interval; if one connection breaks, the other takes its place."""
    monkeypatch.setenv("AIRFLOW_CONN_RAY_OTHER", f'{{"conn_type": "ray", "host": "{stub.url}"}}')
    add_job(stub, "j", TRAIN)
    airflow.states = {TRAIN: "running"}
    seats: Seats = {}

    with looking("ray_default", seats):
        await some_looks(stub, 1)
        (first,) = seats.values()
        with looking("ray_other", seats):
            await some_looks(stub, 3)
            assert list(seats.values()) == [first]
            monkeypatch.delenv("AIRFLOW_CONN_RAY_DEFAULT")
            await until(lambda: seats and list(seats.values()) != [first])
            await some_looks(stub, 2)


async def test_two_triggerers_do_no_harm(
    stub: StubDashboard, airflow: Airflow, looking: Look, caplog: pytest.LogCaptureFixture
) -> None:
    """Both find the job, and stop it, or find it stopped."""
    job = add_job(stub, "j", TRAIN, stop_delay=0.1)
    airflow.states = {TRAIN: "success"}

    with looking(), looking():
        await until(lambda: job.status == "STOPPED")
        await some_looks(stub)

    assert all(record.levelno == logging.INFO for record in ours(caplog))


async def test_job_that_can_t_be_stopped_is_told_and_left_for_a_while(
    stub: StubDashboard,
    airflow: Airflow,
    looking: Look,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray can't stop a PENDING job. Its stop is not asked for at each look, and others are stopped."""
    connect(monkeypatch, stub.url, extra={"request_timeout": 2})
    monkeypatch.setattr(lookout, "_LOOKS_BEFORE_NEXT_TRY", 10_000)
    add_job(stub, "stuck", a_task("stuck"), pending=NEVER, stop_delay=NEVER)
    airflow.states = {a_task("stuck"): "failed", TRAIN: "failed"}

    with looking():
        await until(lambda: messages(caplog))
        job = add_job(stub, "j", TRAIN)
        await until(lambda: job.status == "STOPPED")
        await some_looks(stub)

    told = [line for line in messages(caplog) if "stuck" in line]
    assert len(told) == 1
    assert "could not be stopped, although nobody wants it any more: its task dag.stuck" in told[0]
    assert "still PENDING" in told[0]
    assert stub.count(routes.STOP) == 2


async def test_many_gone_tasks_at_once_are_left_and_told(
    stub: StubDashboard, airflow: Airflow, looking: Look, caplog: pytest.LogCaptureFixture
) -> None:
    """An error names the command that stops them all the same; a task that is over is still collected."""
    for index in range(12):
        add_job(stub, f"job-{index}", a_task("train", index))
    over = add_job(stub, "over", a_task("over"))
    airflow.states = {a_task("over"): "failed"}

    with looking():
        await until(lambda: any(record.levelno == logging.ERROR for record in caplog.records))
        await some_looks(stub)

    (error,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert "does not have the tasks of 12 jobs" in error.getMessage()
    assert "`airflow ray reap --force`" in error.getMessage()
    assert over.status == "STOPPED"
    assert all(stub.jobs[f"job-{index}"].status == "RUNNING" for index in range(12))


async def test_many_orphans_are_all_stopped(
    stub: StubDashboard, airflow: Airflow, looking: Look, metrics: Counter
) -> None:
    """More than are stopped at the same time."""
    tasks = [a_task("train", index) for index in range(120)]
    for task in tasks:
        add_job(stub, f"job-{task.map_index}", task)
    airflow.states = dict.fromkeys(tasks, "failed")

    with looking():
        await until(lambda: metrics.counts.get(ORPHANS_STOPPED) == 120)


async def test_clock_that_jumps_stops_nothing(
    stub: StubDashboard, airflow: Airflow, looking: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten minutes are ten minutes, whatever the wall clock says."""
    hours = iter(range(0, 10**9, 3600))
    monkeypatch.setattr(time, "time", lambda: float(next(hours)))
    job = add_job(stub, "j", TRAIN)

    with looking(pace=CollectPace(interval=0.03, gone_after=600)):
        await some_looks(stub, 5)

    assert job.status == "RUNNING"


async def test_cluster_that_kubernetes_no_longer_has_is_left(
    monkeypatch: pytest.MonkeyPatch, airflow: Airflow, caplog: pytest.LogCaptureFixture
) -> None:
    """Clusters that live as long as a DAG run would otherwise be asked for until the triggerer ends."""

    async def resolve(ref: ClusterRef) -> RayConnection:
        raise RayClusterGoneError(cluster=str(ref), reason="Kubernetes knows no such RayCluster")

    monkeypatch.setattr(ClusterRef, "aresolve", resolve)
    lookout = Lookout(
        ClusterRef(ray_cluster="ml/a"),
        deployment=HERE,
        pace=QUICK,
        ask=airflow.ask,
        seats={},
        metrics=NoMetrics(),
    )

    await lookout.keep_looking()

    assert messages(caplog) == []


async def test_ray_cluster_that_stays_unreachable_is_left(
    stub: StubDashboard,
    monkeypatch: pytest.MonkeyPatch,
    airflow: Airflow,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where Kubernetes is not asked, a deleted cluster looks like an outage that does not end."""
    monkeypatch.setattr(lookout, "_GIVE_UP_AFTER", 0.2)
    stub.inject(Answer(503), times=None, route=routes.LIST_JOBS)

    at_connection = ClusterRef.aresolve

    async def resolve(_: ClusterRef) -> RayConnection:
        return await at_connection(ClusterRef())

    monkeypatch.setattr(ClusterRef, "aresolve", resolve)
    seats: Seats = {}
    looks = Lookout(
        ClusterRef(ray_cluster="ml/a", reach="service"),
        deployment=HERE,
        pace=QUICK,
        ask=airflow.ask,
        seats=seats,
        metrics=NoMetrics(),
    )

    await looks.keep_looking()

    assert not seats
    assert [one.levelname for one in ours(caplog)] == ["WARNING", "INFO"]
