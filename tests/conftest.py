"""What every test may ask for: a real Ray, a pretended one, and an event loop that must not block."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

# At the end, so that the installed wheel is tested and not the source tree next to these tests.
sys.path.append(str(Path(__file__).parent.parent))

from airflow_synapse.rayjobs.client.agents import UNUSABLE
from local_services.ray_head import RayHead
from tests.support.stub_dashboard import StubDashboard

# How long examples take says how busy the machine is.
hypothesis_settings.register_profile(
    "without deadline", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("without deadline")

_CHANGES_BEHAVIOUR = ("RAY_", "AIRFLOW_CONN_", "SYNAPSE_")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that silently override an address or a connection are not set."""
    for name in list(os.environ):
        if name.startswith(_CHANGES_BEHAVIOUR):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_is_heard() -> None:
    """SIGINT raises KeyboardInterrupt, as in a terminal: a shell starts what runs in the background without."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_blocking() -> Iterator[BlockBuster]:
    """A blocking call of this package inside an event loop is an error."""
    with blockbuster_ctx("airflow_synapse") as blockbuster:
        yield blockbuster


@pytest.fixture(autouse=True)
def no_agent_is_remembered() -> None:
    """No agent is left alone because of what another test did to it."""
    UNUSABLE.forget()


@pytest.fixture
def stub_dashboard() -> Iterator[StubDashboard]:
    """A stub dashboard in a thread of its own."""
    with StubDashboard() as stub:
        yield stub


@pytest.fixture(scope="session")
def ray_head() -> Iterator[RayHead]:
    """A real Ray, started once for all tests that ask for it."""
    with RayHead() as head:
        yield head
