"""What lets us in is sent as it was given, or refused without being shown."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_synapse.exceptions import RayAddressError
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.client.credentials.headers import headers_of
from airflow_synapse.rayjobs.models import RayCluster
from tests.support.stub_dashboard import StubDashboard

SECRET = "planted-4711"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"headers": {"X": f"{SECRET}\nEvil: 1"}}, "the header 'X' can't be sent"),
        (
            {"headers": {"a b": SECRET}},
            "the header 'a b' can't be sent: this is not a valid header name",
        ),
        ({"headers": {"": SECRET}}, "the header '' can't be sent"),
        ({"headers": {"X": 5}}, "its value is an int, not a string"),
        ({"cookies": {"a b": SECRET}}, "the cookie 'a b' can't be sent"),
        ({"cookies": {"a": f"{SECRET}\r\n"}}, "the cookie 'a' can't be sent"),
        ({"token": f"{SECRET}\nmore"}, "the header 'Authorization' can't be sent"),
    ],
)
def test_what_can_t_be_sent_is_refused(
    stub_dashboard: StubDashboard, given: dict[str, Any], reason: str
) -> None:
    """Nothing can be smuggled into a request, and the error shows no value."""
    with pytest.raises(RayAddressError) as caught:
        RayJobExecutor(stub_dashboard.url, **given).list_jobs()

    assert reason in str(caught.value)
    assert SECRET not in str(caught.value)
    assert stub_dashboard.count() == 0


def test_token_wins_over_a_header() -> None:
    """One Authorization header is sent, with the token, less the newline of its file."""
    cluster = RayCluster("http://ray", token="t\n", headers={"authorization": "x", "X": "y"})

    assert headers_of(cluster) == {"X": "y", "Authorization": "Bearer t"}
