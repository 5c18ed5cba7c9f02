"""Every way a request can fail has a meaning, and pauses between tries stay in bounds."""

from __future__ import annotations

import asyncio
import inspect
import ssl

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse.rayjobs.client.request_errors import (
    ERRORS,
    RETRYABLE_STATUSES,
    classify_error,
    classify_status,
)
from airflow_synapse.rayjobs.patience import Backoff

ONLY_INSIDE_AIOHTTP = {"EofStream"}
"""What aiohttp exports, but raises only to itself."""


def exported_errors() -> list[type[BaseException]]:
    """Return the exception classes that the installed aiohttp exports, less its warnings."""
    return [
        kind
        for kind in (getattr(aiohttp, name) for name in aiohttp.__all__)
        if inspect.isclass(kind)
        and issubclass(kind, BaseException)
        and not issubclass(kind, Warning)
        and kind.__name__ not in ONLY_INSIDE_AIOHTTP
    ]


@pytest.mark.parametrize("kind", exported_errors(), ids=lambda kind: kind.__name__)
def test_every_error_of_aiohttp_is_named(kind: type[BaseException]) -> None:
    """The table says of each class of aiohttp whether it heals; a new one is a decision to make."""
    assert kind.__name__ in ERRORS


def test_error_of_a_new_kind_counts_as_its_nearest_known_ancestor() -> None:
    """A subclass that the table does not know is treated like what it is derived from."""

    class NewError(aiohttp.ServerDisconnectedError):
        pass

    failure = classify_error(NewError())

    assert failure.is_retryable
    assert failure.reason == "it closed the connection without an answer (NewError)"


@pytest.mark.parametrize(
    ("error", "is_retryable", "reason"),
    [
        (asyncio.TimeoutError(), True, "it did not answer in time (TimeoutError)"),
        (ConnectionResetError(104, "Connection reset by peer"), True, "Connection reset by peer"),
        (OSError(113, "No route to host"), True, "No route to host"),
        (asyncio.IncompleteReadError(b"", 4), True, "its answer was cut off"),
        (ssl.SSLCertVerificationError(1, "self-signed"), False, "is it https at all?"),
        (aiohttp.InvalidURL("http://["), False, "the URL is malformed (InvalidURL)"),
    ],
)
def test_error_tells_whether_another_try_may_succeed(
    error: BaseException, is_retryable: bool, reason: str
) -> None:
    """What a flickering network does heals; what only a person can mend does not."""
    failure = classify_error(error)

    assert failure.is_retryable is is_retryable
    assert reason in failure.reason


def test_what_is_no_error_of_a_request_is_refused() -> None:
    """A programming error is never taken for an outage."""
    with pytest.raises(TypeError, match="KeyError"):
        classify_error(KeyError("x"))


@pytest.mark.parametrize("status", sorted(RETRYABLE_STATUSES))
def test_known_status_heals_and_says_what_it_means(status: int) -> None:
    """Each status of the table is worth another try and is explained in the reason."""
    failure = classify_status(status)

    assert failure.is_retryable
    assert failure.reason == f"it answered {status}: {RETRYABLE_STATUSES[status]}"


@pytest.mark.parametrize(
    ("status", "is_retryable"), [(400, False), (405, False), (418, False), (501, True), (599, True)]
)
def test_other_status_heals_if_the_server_is_to_blame(status: int, is_retryable: bool) -> None:
    """An unknown 5xx is worth another try, an unknown 4xx is not."""
    failure = classify_status(status)

    assert failure.is_retryable is is_retryable
    assert str(status) in failure.reason


@given(
    st.floats(0.01, 5.0),
    st.floats(5.0, 60.0),
    st.lists(st.one_of(st.none(), st.floats(0.0, 1e6)), min_size=1, max_size=40),
)
def test_pauses_stay_in_bounds(first: float, cap: float, asked: list[float | None]) -> None:
    """A pause is between half of its due length and the cap, or what the server asked for."""
    backoff = Backoff(first, cap)

    for number, retry_after in enumerate(asked):
        due = min(cap, first * 2.0**number)
        wanted = min(retry_after or 0.0, 300.0)
        assert max(due / 2, wanted) <= backoff.next_pause(retry_after) <= max(due, wanted)


def test_pauses_grow_and_start_over_after_a_success() -> None:
    """Each pause is longer than the one two before, and a success makes them short again."""
    backoff = Backoff(first=1.0, cap=1000.0)

    pauses = [backoff.next_pause() for _ in range(8)]
    backoff.reset()

    assert all(later >= earlier for earlier, later in zip(pauses, pauses[2:], strict=False))
    assert backoff.next_pause() <= 1.0


def test_pauses_are_jittered() -> None:
    """Two watchers that lost the same server don't come back at the same moments."""
    assert len({Backoff(first=1.0).next_pause() for _ in range(20)}) > 10
