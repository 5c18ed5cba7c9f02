"""A connection may be edited while its cluster is in use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from airflow_synapse.exceptions import RayAuthenticationError
from airflow_synapse.hooks.cluster_ref import ClusterRef
from airflow_synapse.hooks.connection import RayConnection
from airflow_synapse.hooks.credential_source import shared_reading
from airflow_synapse.hooks.ray_job import RayJobHook
from airflow_synapse.rayjobs.models import RayCluster
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard
from tests.support.token_proxy import TokenProxy
from tests.triggers.watching import connect


@pytest.fixture
def proxy(stub_dashboard: StubDashboard) -> Iterator[TokenProxy]:
    with TokenProxy(stub_dashboard.url) as proxy:
        yield proxy


def test_edited_connection_is_read_again(
    proxy: TokenProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook that has read its connection reads it again once it is refused, and keeps what it read."""
    connect(monkeypatch, proxy.url, password=proxy.valid)
    hook = RayJobHook()
    hook.list_jobs()

    connect(monkeypatch, proxy.url, password=proxy.rotate())

    assert hook.list_jobs() == hook.list_jobs() == []
    assert len(proxy.refused) == 1


def test_new_password_does_not_go_to_an_old_address(
    proxy: TokenProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that leads elsewhere now has credentials for there."""
    connect(monkeypatch, proxy.url, password=proxy.valid)
    executor = RayJobHook().get_conn()
    executor.pace = FAST_PACE
    given: list[str | None] = []
    proxy.on_request = lambda request: given.append(request.headers.get("Authorization"))

    proxy.rotate()
    connect(monkeypatch, "http://elsewhere:8265", password="for-elsewhere")

    with pytest.raises(RayAuthenticationError, match="another address now"):
        executor.list_jobs()
    assert set(given) == {"Bearer token-0"}


def test_test_of_a_connection_does_not_wait(
    proxy: TokenProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who presses the button wants to know now."""
    connect(monkeypatch, proxy.url, password="wr0ng")

    is_good, text = RayJobHook().test_connection()

    assert not is_good
    assert "refused the request" in text
    assert len(proxy.refused) <= 2


async def test_connections_of_one_name_share_a_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the password was when each trigger began; but another connection is another watch."""
    connect(monkeypatch, "http://head:8265", password="old")
    first = (await ClusterRef().aresolve()).cluster
    connect(monkeypatch, "http://head:8265", password="new")
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", "ray://:new@head:8265")
    second, other = ClusterRef().resolve().cluster, ClusterRef("other").resolve().cluster

    assert first.token != second.token
    assert first.key == second.key
    assert second.key != other.key
    assert first.key != replace(first, verify=False).key


async def test_many_who_ask_at_once_are_one_reading() -> None:
    """A hundred triggers that start together, or are refused together, ask a secrets backend once."""
    asked = 0

    async def read() -> RayConnection:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        if asked == 1:
            raise ValueError("broken")
        return RayConnection(RayCluster("http://head"), "")

    results = await asyncio.gather(
        *(shared_reading("name", read) for _ in range(100)), return_exceptions=True
    )

    assert asked == 1
    assert {type(result) for result in results} == {ValueError}
