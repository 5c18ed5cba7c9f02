"""The stub dashboard and a real Ray behind one face, for the same assertions on both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from local_services.ray_head import RayHead
from tests.support.raw_dashboard import ENDED, Dashboard
from tests.support.stub_dashboard import StubDashboard

TOKEN = "a-token-of-the-contract-tests"


@pytest.fixture(scope="session", params=["stub", "ray"])
def dashboard(request: pytest.FixtureRequest) -> Iterator[Dashboard]:
    """A dashboard that asks for no token."""
    if request.param == "ray":
        head: RayHead = request.getfixturevalue("ray_head")
        yield Dashboard(head.dashboard_url, stub=None)
        return
    with StubDashboard() as stub:
        yield Dashboard(stub.url, stub=stub)


@pytest.fixture(scope="session", params=["stub", "ray"])
def guarded_dashboard(request: pytest.FixtureRequest) -> Iterator[Dashboard]:
    """A dashboard that asks for a token, which is sent unless a test says otherwise."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    if request.param == "ray":
        with RayHead(auth_token=TOKEN) as head:
            yield Dashboard(head.dashboard_url, stub=None, headers=headers)
        return
    with StubDashboard(token=TOKEN) as stub:
        yield Dashboard(stub.url, stub=stub, headers=headers)


@pytest.fixture(scope="session")
def succeeded(dashboard: Dashboard) -> dict[str, Any]:
    """A job that printed odd bytes and SUCCEEDED."""
    # printf is given octal escapes, as those of dash know no others.
    job_id = dashboard.submit(
        r"sleep 0.3; printf 'first\n\377\000odd\r\nlast'",
        played={"log": ((0.0, b"first\n\xff\0odd\r\nlast"),)},
        metadata={"who": "me"},
        runtime_env={"env_vars": {"NAME": "value"}},
    )
    return dashboard.wait(job_id, ENDED)
