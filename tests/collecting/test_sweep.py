"""Looking for jobs that nobody wants any more once, as the operator and the command do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_synapse.collecting import sweep as sweeping
from airflow_synapse.collecting.orphans import CollectPace
from airflow_synapse.collecting.sweep import Sweep
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.base_executor import BaseRayExecutor
from tests.collecting.airflow_states import HERE, Airflow, a_task, add_job
from tests.support import stub_dashboard as routes
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER

TRAIN = a_task("train")
PACE = CollectPace()


class Clock:
    """A clock that only sleeping moves.

    :ivar meanwhile: Called during each pause.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.meanwhile: Callable[[], Any] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sweeping, "time", clock)
    return clock


@pytest.fixture
def airflow() -> Airflow:
    return Airflow()


@pytest.fixture
def stub(stub_dashboard: StubDashboard, monkeypatch: pytest.MonkeyPatch) -> StubDashboard:
    monkeypatch.setattr(BaseRayExecutor, "pace", FAST_PACE)
    return stub_dashboard


def sweep(
    stub: StubDashboard,
    airflow: Airflow,
    *,
    spares_many: bool = True,
    request_timeout: float = 30.0,
) -> Sweep:
    return Sweep(
        RayJobExecutor(stub.url, request_timeout=request_timeout),
        airflow.ask_at_once,
        deployment=HERE,
        pace=PACE,
        spares_many=spares_many,
    )


def ids(suspicions: list[Any]) -> list[str]:
    return [one.job.job_id for one in suspicions]


def test_nothing_to_stop_takes_no_time(stub: StubDashboard, airflow: Airflow, clock: Clock) -> None:
    """One look is enough if all jobs are wanted."""
    add_job(stub, "j", TRAIN)
    airflow.states = {TRAIN: "deferred"}
    told: list[str] = []

    swept = sweep(stub, airflow).run(told.append)

    assert (swept.stopped, told, clock.now) == ([], [], 0)
    assert stub.count(routes.LIST_JOBS) == 1


def test_job_of_a_task_that_is_over_takes_a_minute(
    stub: StubDashboard, airflow: Airflow, clock: Clock
) -> None:
    """Two looks, and what is waited for is told."""
    job = add_job(stub, "j", TRAIN)
    airflow.states = {TRAIN: "failed"}
    told: list[str] = []

    swept = sweep(stub, airflow).run(told.append)

    assert (ids(swept.stopped), job.status, clock.now) == (["j"], "STOPPED", 60)
    assert "Found 1 job that nobody seems to want" in told[0]
    assert "about 60 s" in told[0]


def test_job_of_a_deleted_run_takes_ten_minutes(
    stub: StubDashboard, airflow: Airflow, clock: Clock
) -> None:
    """A job of a task that is over is stopped meanwhile."""
    add_job(stub, "gone", TRAIN)
    over = add_job(stub, "over", a_task("over"))
    airflow.states = {a_task("over"): "failed"}
    seen: list[tuple[float, str]] = []
    clock.meanwhile = lambda: seen.append((clock.now, over.status))

    swept = sweep(stub, airflow).run(seen.append)  # type: ignore[arg-type]

    assert ids(swept.stopped) == ["over", "gone"]
    assert clock.now == 600
    assert (120, "STOPPED") in seen


def test_task_that_is_cleared_meanwhile_keeps_its_job(
    stub: StubDashboard, airflow: Airflow, clock: Clock
) -> None:
    """The second look has to agree."""
    job = add_job(stub, "j", TRAIN)
    airflow.states = {TRAIN: "failed"}
    clock.meanwhile = lambda: airflow.states.update({TRAIN: None})

    swept = sweep(stub, airflow).run(lambda _: None)

    assert (swept.stopped, job.status) == ([], "RUNNING")


def test_job_that_is_orphaned_meanwhile_is_left_to_the_next_sweep(
    stub: StubDashboard, airflow: Airflow, clock: Clock
) -> None:
    """Otherwise a busy Airflow's sweep would never end."""
    add_job(stub, "first", TRAIN)
    late = add_job(stub, "late", a_task("late"))
    airflow.states = {TRAIN: "failed", a_task("late"): "running"}
    clock.meanwhile = lambda: airflow.states.update({a_task("late"): "failed"})

    swept = sweep(stub, airflow).run(lambda _: None)

    assert (ids(swept.stopped), late.status, clock.now) == (["first"], "RUNNING", 60)


def test_error_of_airflow_stops_nothing(
    stub: StubDashboard, airflow: Airflow, clock: Clock
) -> None:
    """Whoever sweeps hears of it."""
    job = add_job(stub, "j", TRAIN)
    airflow.states = {TRAIN: "failed"}

    def break_airflow() -> None:
        airflow.error = OSError("the API server is away")

    clock.meanwhile = break_airflow

    with pytest.raises(OSError, match="away"):
        sweep(stub, airflow).run(lambda _: None)
    assert job.status == "RUNNING"


def test_job_that_can_t_be_stopped_is_told(
    stub: StubDashboard, airflow: Airflow, clock: Clock
) -> None:
    """The others are stopped all the same, and the sweep ends."""
    add_job(stub, "stuck", a_task("stuck"), pending=NEVER, stop_delay=NEVER)
    add_job(stub, "j", TRAIN)
    airflow.states = {TRAIN: "failed", a_task("stuck"): "failed"}

    swept = sweep(stub, airflow, request_timeout=2.0).run(lambda _: None)

    assert ids(swept.stopped) == ["j"]
    ((stuck, error),) = swept.not_stopped
    assert stuck.job.job_id == "stuck"
    assert "still PENDING" in str(error)


@pytest.mark.parametrize("spares_many", [True, False])
def test_many_gone_tasks_are_left_unless_by_force(
    stub: StubDashboard, airflow: Airflow, clock: Clock, spares_many: bool
) -> None:
    """The sweep ends in either case."""
    for index in range(12):
        add_job(stub, f"job-{index}", a_task("train", index))

    swept = sweep(stub, airflow, spares_many=spares_many).run(lambda _: None)

    assert (len(swept.spared), len(swept.stopped)) == ((12, 0) if spares_many else (0, 12))


def test_suspects_are_those_of_one_look(
    stub: StubDashboard, airflow: Airflow, clock: Clock
) -> None:
    """Nothing is stopped, and nothing is waited for."""
    job = add_job(stub, "j", TRAIN)
    add_job(stub, "wanted", a_task("wanted"))
    airflow.states = {a_task("wanted"): "running"}

    assert ids(sweep(stub, airflow).suspects()) == ["j"]
    assert (job.status, clock.now) == ("RUNNING", 0)
