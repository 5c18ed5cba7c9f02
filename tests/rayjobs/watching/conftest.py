"""A watch of the stub, and the task's log that it writes to."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest

from airflow_synapse.rayjobs.models import RayCluster
from airflow_synapse.rayjobs.watching.cluster_watch import ClusterWatch, WatchLimits, shared_watch
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard

LOGGER = logging.getLogger("the task's log")
FAST = WatchLimits(requests_per_second=1000.0)


@pytest.fixture(autouse=True)
def messages_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER.name)


@pytest.fixture
async def watch(stub: StubDashboard) -> AsyncIterator[ClusterWatch]:
    async with shared_watch(
        RayCluster(stub.url, request_timeout=2.0), FAST, pace=FAST_PACE
    ) as watch:
        yield watch
