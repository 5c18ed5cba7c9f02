"""The stub server leaves nothing behind that another test would see."""

from __future__ import annotations

import gc

import pytest

from airflow_synapse.exceptions import RayClusterUnreachableError
from airflow_synapse.rayjobs import RayJobExecutor
from tests.support.faults import Hang
from tests.support.stub_dashboard import StubDashboard


def test_request_that_hangs_ends_with_the_stub(caplog: pytest.LogCaptureFixture) -> None:
    """asyncio complains of no task that was still pending, in whatever log it would."""
    with StubDashboard() as stub:
        stub.inject(Hang(), times=None)
        with pytest.raises(RayClusterUnreachableError):
            RayJobExecutor(stub.url, request_timeout=0.1).get_info("j")
    del stub

    gc.collect()

    assert caplog.messages == []
