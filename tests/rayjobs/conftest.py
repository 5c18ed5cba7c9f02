"""What the tests of the asynchronous side share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support import stub_dashboard as routes
from tests.support.faults import Answer
from tests.support.stub_dashboard import StubDashboard


@pytest.fixture
async def stub() -> AsyncIterator[StubDashboard]:
    """A stub dashboard in the event loop of the test."""
    async with StubDashboard() as stub:
        yield stub


@pytest.fixture(params=["agent", "dashboard"])
def way(request: pytest.FixtureRequest, stub: StubDashboard) -> str:
    """The route by which logs are read; without the agent, all goes over the dashboard."""
    if request.param == "dashboard":
        stub.inject(Answer(404), times=None, route=routes.AGENT_LOG)
        return routes.LOGS
    return routes.AGENT_LOG
