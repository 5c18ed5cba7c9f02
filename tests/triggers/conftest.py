"""A cluster for triggers, and what Airflow says of their tasks."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import create_autospec, patch

import pytest
import structlog
from airflow.sdk._shared.logging.structlog import LoggerFactory, NamedBytesLogger

from airflow_synapse.triggers import ray_job
from airflow_synapse.triggers.ray_job import RayJobTrigger
from airflow_synapse.triggers.task_state import is_wanted
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard
from tests.triggers.watching import connect, forget_channel


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(RayJobTrigger, "pace", FAST_PACE)
    caplog.set_level(logging.INFO)
    # Airflow's own logging goes to standard output.
    monkeypatch.setattr(RayJobTrigger, "log", logging.getLogger("the task's log"))
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:  # Airflow's; its writes block, and fail slowly
            monkeypatch.setattr(handler, "level", logging.CRITICAL + 1)


@pytest.fixture
async def stub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StubDashboard]:
    """A stub dashboard to which ``ray_default`` leads."""
    async with StubDashboard() as stub:
        connect(monkeypatch, stub.url)
        yield stub


@pytest.fixture
def waits() -> Iterator[Any]:
    """What Airflow says about the task: by default that it no longer wants the job."""
    with patch.object(ray_job, "is_wanted", create_autospec(is_wanted)) as waits:
        waits.return_value = False
        yield waits


@pytest.fixture
def channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    """What a triggerer's structlog writes into, and the supervisor's end."""
    ours, theirs = socket.socketpair()
    before = structlog.get_config()
    forget_channel()
    with ours, theirs, ours.makefile("wb", buffering=0) as output:
        structlog.configure(logger_factory=LoggerFactory(NamedBytesLogger, io=output))
        yield ours, theirs
        structlog.configure(**before)
        forget_channel()
