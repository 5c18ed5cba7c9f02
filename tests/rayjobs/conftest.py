"""What the tests of the asynchronous side share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.stub_dashboard import StubDashboard


@pytest.fixture
async def stub() -> AsyncIterator[StubDashboard]:
    """A stub dashboard in the event loop of the test."""
    async with StubDashboard() as stub:
        yield stub
