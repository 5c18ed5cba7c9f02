"""Keeps account of whether a cluster lets us in, and tells about it once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from airflow_synapse.exceptions import RayAuthenticationError
from airflow_synapse.rayjobs.client.answers import CertificateRefusedError
from airflow_synapse.rayjobs.reporting import Logger

Refusal = RayAuthenticationError | CertificateRefusedError


class RefusalListener(Protocol):
    """Somebody who wants to know that a cluster refuses us."""

    def refused(self, cluster: str, why: str, trouble: str) -> None:
        """Hear that a cluster refuses our credentials, and will be asked again.

        :param why: The HTTP status, or what is wrong with a certificate.
        :param trouble: Why they could not be read again, as a clause, if so.
        """

    def accepted(self, seconds: float) -> None:
        """Hear that it has accepted them again after so many seconds."""


class RefusalLog:
    """Logs once that a cluster began to refuse our credentials, and once that it accepts them again.

    :param logger: Where to say so.
    :param patience: Seconds for which they are tried again.
    """

    def __init__(self, logger: Logger, patience: float) -> None:
        self._logger = logger
        self._patience = patience

    def refused(self, cluster: str, why: str, trouble: str) -> None:
        """Log it as a warning."""
        self._logger.warning(
            "The Ray cluster at %s refuses our credentials (%s). Reading them again for up to %g s%s. Jobs "
            "that run there are not affected.",
            cluster,
            why,
            self._patience,
            f", which fails at the moment: {trouble}" if trouble else "",
        )

    def accepted(self, seconds: float) -> None:
        """Log that it is over."""
        self._logger.info("The Ray cluster accepts our credentials again after %.1f s.", seconds)


class RefusalAccount:
    """Whether one cluster lets one session in.

    :param cluster: Its address.
    """

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self._listeners: set[RefusalListener] = set()
        self._is_told = False
        self._last: Refusal | None = None
        self.since: float | None = None
        self.accepted_at: float | None = None

    @contextmanager
    def told_to(self, listener: RefusalListener) -> Iterator[None]:
        """Tell somebody when refusals go on, and when they end."""
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)

    def note_acceptance(self) -> None:
        """Note that a request was let in."""
        since, self.since = self.since, None
        self.accepted_at = time.monotonic()
        if self._is_told and since is not None:
            self._is_told = False
            for listener in tuple(self._listeners):
                listener.accepted(self.accepted_at - since)

    def note_refusal(self, error: Refusal) -> float:
        """Note that a request was refused, and return since when all have been."""
        self._last = error
        if self.since is None:
            self.since = time.monotonic()
        return self.since

    def error(self) -> RayAuthenticationError | None:
        """Return the error for a call that can't wait any longer, if the last request was refused."""
        error = self._last
        if self.since is None or not isinstance(error, RayAuthenticationError):
            return None
        return RayAuthenticationError(
            cluster=error.cluster,
            http_status=error.http_status,
            tried_for=time.monotonic() - self.since,
            told=error.told,
            hint=error.hint,
        )

    def tell(self, error: Refusal, trouble: str) -> None:
        """Say that refusals go on, if that is news."""
        if self._is_told:
            return
        self._is_told = True
        why = error.reason
        if isinstance(error, RayAuthenticationError):
            why = str(error.http_status)
        for listener in tuple(self._listeners):
            listener.refused(self._cluster, why, trouble)
