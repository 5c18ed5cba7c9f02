"""Tokens of Kubernetes end while a job runs, and the job is watched on."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from tests.kubernetes.long_watches import Watched

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("source", ["file", "callable"])
def test_job_of_three_minutes_outlives_tokens_of_30_seconds(
    watches_with_short_tokens: dict[str, Future[Watched]], source: str
) -> None:
    """A token that is renewed in time, in a file or by a callable, is all that a watch needs."""
    watched = watches_with_short_tokens[source].result(300)

    assert watched.lines == watched.expected
    assert watched.status == "SUCCEEDED"
    assert watched.tokens > 3
