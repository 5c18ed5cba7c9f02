"""A token may change at any time; nobody who uses the executor notices."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_synapse.exceptions import (
    RayAddressError,
    RayAuthenticationError,
    RayClusterUnreachableError,
)
from airflow_synapse.rayjobs import RayJobExecutor
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard
from tests.support.token_proxy import TokenProxy, json_web_token

if TYPE_CHECKING:
    from aiohttp import web


@pytest.fixture
def proxy(stub_dashboard: StubDashboard) -> Iterator[TokenProxy]:
    with TokenProxy(stub_dashboard.url) as proxy:
        yield proxy


@pytest.fixture
def token_file(tmp_path: Path, proxy: TokenProxy) -> Path:
    path = tmp_path / "token"
    path.write_text(proxy.valid + "\n")
    return path


class Tokens:
    """Gives the token of a proxy, and counts how often it was asked."""

    def __init__(self, proxy: TokenProxy) -> None:
        self.proxy = proxy
        self.asked = 0
        self.fails_with: Exception | None = None

    def __call__(self) -> str:
        self.asked += 1
        if self.fails_with is not None:
            raise self.fails_with
        return self.proxy.valid

    async def awaited(self) -> str:
        await asyncio.sleep(0)
        return self()


def an_executor(proxy: TokenProxy, **options: Any) -> RayJobExecutor:
    executor = RayJobExecutor(proxy.url, **options)
    executor.pace = FAST_PACE
    return executor


def test_token_file_is_read_again_when_it_has_changed(proxy: TokenProxy, token_file: Path) -> None:
    """Each call is let in, with the token that the file holds then."""
    executor = an_executor(proxy, token_file=token_file)

    with executor:
        for _ in range(3):
            assert executor.list_jobs() == []
            token_file.write_text(proxy.rotate())

    assert len(proxy.refused) <= 2


def test_token_file_may_be_late(proxy: TokenProxy, token_file: Path) -> None:
    """A call that is refused waits for the file to change, as projected tokens come late."""
    executor = an_executor(proxy, token_file=token_file)
    late = proxy.rotate()

    with executor, pytest.raises(RayAuthenticationError):
        executor.list_jobs()
    token_file.write_text(late)

    assert executor.list_jobs() == []


@pytest.mark.parametrize("is_async", [False, True])
def test_callable_is_asked_only_when_its_token_was_refused(
    proxy: TokenProxy, is_async: bool
) -> None:
    """What it gave is kept from call to call, whether they share a connection or not."""
    tokens = Tokens(proxy)
    executor = an_executor(proxy, token=tokens.awaited if is_async else tokens)

    for _ in range(3):
        executor.list_jobs()
    with executor:
        executor.list_jobs()
    assert tokens.asked == 1

    proxy.rotate()
    with executor:
        executor.list_jobs()
    executor.list_jobs()

    assert tokens.asked == 2
    assert len(proxy.refused) == 1


def test_callable_is_asked_before_its_token_expires(stub_dashboard: StubDashboard) -> None:
    """A JSON Web Token says when it ends. What was just given is sent, as our clock may be wrong."""
    asked: list[str] = []

    def give() -> str:
        asked.append(json_web_token(lives=0.0 if not asked else 3600.0, number=len(asked)))
        return asked[-1]

    executor = RayJobExecutor(stub_dashboard.url, token=give)

    for _ in range(3):
        executor.list_jobs()

    given = [call.headers["Authorization"].removeprefix("Bearer ") for call in stub_dashboard.calls]
    assert given == [asked[0], asked[1], asked[1]]


@pytest.mark.parametrize("status", [401, 403])
def test_token_that_stays_wrong_is_final(
    stub_dashboard: StubDashboard, tmp_path: Path, status: int
) -> None:
    """The error says that the token was read again, and holds none of it."""
    path = tmp_path / "token"
    path.write_text("wr0ng")
    with TokenProxy(stub_dashboard.url, status=status) as proxy:
        executor = an_executor(proxy, token_file=path)
        executor.pace = replace(
            FAST_PACE, credentials=replace(FAST_PACE.credentials, call_patience=1.1)
        )
        with pytest.raises(RayAuthenticationError, match=str(status)) as caught:
            executor.get_status("j")

        assert 3 <= len(proxy.refused) <= 20
    assert "read again for 1 s, and refused each time" in str(caught.value)
    assert "Job j may still be running there" in str(caught.value)
    assert "wr0ng" not in repr(vars(caught.value)) + str(caught.value) + repr(executor.cluster)


def test_a_broken_source_is_named_and_not_asked_too_often(proxy: TokenProxy) -> None:
    """While a token is refused and no other can be had, there is one try per pause."""
    tokens = Tokens(proxy)
    executor = an_executor(proxy, token=tokens)
    with executor:
        executor.list_jobs()
        proxy.rotate()
        tokens.fails_with = ValueError("s3cret")
        with pytest.raises(RayAuthenticationError, match="ValueError") as caught:
            executor.list_jobs()

    assert "s3cret" not in str(caught.value)
    assert tokens.asked <= 8


def test_a_source_that_breaks_at_once_is_an_outage(proxy: TokenProxy) -> None:
    """Without any token nothing is sent; the error says what broke, not what it said."""
    tokens = Tokens(proxy)
    tokens.fails_with = ValueError("s3cret")

    with pytest.raises(RayClusterUnreachableError, match="can't be read: ValueError") as caught:
        an_executor(proxy, token=tokens).list_jobs()

    assert "s3cret" not in str(caught.value)
    assert not proxy.refused


@pytest.mark.parametrize("header", ["X-Ray-Authorization", "Proxy-Authorization", "authorization"])
def test_token_goes_into_the_header_that_is_wanted(
    stub_dashboard: StubDashboard, header: str
) -> None:
    """A proxy may want the token elsewhere, as where it takes Authorization for itself."""
    with TokenProxy(stub_dashboard.url, header=header) as proxy:
        headers = {} if header == "authorization" else {"Authorization": "Basic mine"}
        executor = RayJobExecutor(
            proxy.url, token=proxy.valid, token_header=header, headers=headers
        )
        executor.list_jobs()

    assert stub_dashboard.last_call().headers.get("Authorization") == headers.get("Authorization")


def test_unknown_header_is_refused_before_anything_is_sent(proxy: TokenProxy) -> None:
    """A token in a header that nobody reads would be a secret in somebody's log."""
    executor = RayJobExecutor(proxy.url, token="t", token_header="X-Token")

    with pytest.raises(RayAddressError, match=r"token_header is 'X-Token'.*Use one of Auth"):
        executor.list_jobs()
    assert not proxy.refused


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "can't be read"),
        (b" \n", "is empty"),
        (b"x" * 70_000, "has 70000 bytes"),
        (b"\xff\xfe", "can't be read"),
        ("folder", "is not a file"),
    ],
)
def test_unusable_token_file_is_named(
    proxy: TokenProxy, tmp_path: Path, content: Any, what: str
) -> None:
    """A path that leads nowhere, or to something else, is told with the path."""
    path = tmp_path / "token"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)

    with pytest.raises(RayAddressError, match=what) as caught:
        an_executor(proxy, token_file=path).list_jobs()

    assert str(path) in str(caught.value)


def test_half_written_file_is_no_reason_to_stop(proxy: TokenProxy, token_file: Path) -> None:
    """While a new token is being written, the old one is used."""
    executor = an_executor(proxy, token_file=token_file)

    with executor:
        executor.list_jobs()
        token_file.write_text("")
        executor.list_jobs()
        token_file.unlink()
        executor.list_jobs()

    assert not proxy.refused


def test_package_is_sent_again_in_whole(
    proxy: TokenProxy, token_file: Path, tmp_path: Path, stub_dashboard: StubDashboard
) -> None:
    """An upload that is refused begins again with the new token, and the job is started once."""
    folder = tmp_path / "plugin"
    folder.mkdir()
    (folder / "data.bin").write_bytes(random.Random(7).randbytes(3_000_000))
    executor = an_executor(proxy, token_file=token_file, working_dir=folder)

    def turn(request: web.Request) -> None:
        if request.method == "PUT" and not proxy.refused:
            token_file.write_text(proxy.rotate())

    proxy.on_request = turn
    job_id = executor.submit_entrypoint("true")

    assert list(stub_dashboard.jobs) == [job_id]
    assert next(path.split()[0] for path in proxy.refused) == "PUT"
