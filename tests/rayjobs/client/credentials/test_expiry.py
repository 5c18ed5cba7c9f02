"""Whether a token says when it expires."""

from __future__ import annotations

import time

import pytest

from airflow_synapse.rayjobs.client.credentials.tokens import expiry_of
from tests.support.token_proxy import json_web_token


def test_json_web_token_says_when_it_expires() -> None:
    """Its claim ``exp`` is read, and its signature is not looked at."""
    assert expiry_of(json_web_token(lives=60.0)) == pytest.approx(time.time() + 60, abs=5)


@pytest.mark.parametrize(
    "token", [None, "", "opaque", "a.b.c", "a.e30.c", "a.bnVsbA.c", "a.eyJleHAiOiAieCJ9.c", "é.é.é"]
)
def test_other_tokens_say_nothing(token: str | None) -> None:
    """Anything else is a token without a known end."""
    assert expiry_of(token) is None
