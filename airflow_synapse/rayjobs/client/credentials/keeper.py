"""Reads the credentials for one session, and reads them again when they have changed or were refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import replace

from airflow_synapse.exceptions import (
    AirflowSynapseError,
    RayAddressError,
    RayAuthenticationError,
    RayClusterUnreachableError,
)
from airflow_synapse.rayjobs.client.answers import CertificateRefusedError
from airflow_synapse.rayjobs.client.credentials.access import Access, files_of, load_access
from airflow_synapse.rayjobs.client.credentials.files import WatchedFiles
from airflow_synapse.rayjobs.client.credentials.pace import CredentialPace
from airflow_synapse.rayjobs.client.credentials.refusals import RefusalAccount
from airflow_synapse.rayjobs.models import RayCluster

_LONGEST_PAUSE_OF_EXPIRED = 60.0
"""Seconds at most between two readings because of a token that has expired, if it stays the same. The clock
of this machine may be wrong, so the cluster decides whether a token is good."""


class Credentials:
    """What lets a session into its cluster.

    All requests of the session share it: they cause at most one reading per pause.

    :param cluster: The cluster, with the credentials that were read last.
    :param pace: How often they may be read.
    """

    def __init__(self, cluster: RayCluster, pace: CredentialPace) -> None:
        newest = cluster.source.newest if cluster.source is not None else None
        if newest is not None:
            cluster = replace(
                newest, request_timeout=cluster.request_timeout, source=cluster.source
            )
        self._cluster = cluster
        self._pace = pace
        self.account = RefusalAccount(cluster.address)
        self._access: Access | None = None
        self._files = self._files_of(self._cluster)
        self._lock = asyncio.Lock()
        self._asking: asyncio.Task[RayCluster] | None = None
        self._readings = _Pauses(pace.first_pause, pace.longest_pause)
        self._readings_of_expired = _Pauses(pace.first_pause, _LONGEST_PAUSE_OF_EXPIRED)
        self._failure: AirflowSynapseError | None = None

    def close(self) -> None:
        """Give up what is under way."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    async def access(self) -> Access:
        """Return what to send now. Files that have changed and tokens that have expired are read again.

        :raises RayAddressError: if something can't be used.
        :raises RayClusterUnreachableError: if something can't be had at the moment.
        """
        access = self._access
        if access is not None and (self._lock.locked() or not self._is_due(access)):
            return access
        async with self._lock:
            if self._access is None:
                self._access = await self._read_first()
            if self._has_expired(self._access):
                await self._read_expired(self._access)
            elif self._files.are_due and await self._files.have_changed():
                await self._read(asks=False)
            return self._access

    def refusals(self, patience: float) -> Refusals:
        """Return the account of one call that may be refused.

        :param patience: For how many seconds.
        """
        return Refusals(self, patience, self._pace.call_patience)

    @property
    def may_become_good(self) -> bool:
        """Whether what is refused may be accepted later: it is read again, or was accepted before."""
        cluster = self._cluster
        return bool(cluster.source or cluster.token_file or self.account.accepted_at)

    @property
    def current(self) -> Access | None:
        """What was read last, None before the first request."""
        return self._access

    def is_newer_than(self, access: Access) -> bool:
        """Return whether the credentials have changed since these were sent."""
        return self._access is not access

    @property
    def pause(self) -> float:
        """Seconds until they may be read again."""
        return self._readings.left

    @property
    def trouble(self) -> str:
        """Why they could not be read again, as a clause without secrets, empty if they could."""
        return "" if self._failure is None else str(getattr(self._failure, "reason", ""))

    async def read_again(self, refused: Access) -> None:
        """Read them again because these were refused, unless somebody has just done so."""
        async with self._lock:
            if not self.is_newer_than(refused) and self._readings.may_begin():
                await self._read(asks=True)

    def note_acceptance(self) -> None:
        """Note that the cluster let a request in."""
        self._readings.reset()
        self.account.note_acceptance()

    # Reading

    def _files_of(self, cluster: RayCluster) -> WatchedFiles:
        return WatchedFiles(files_of(cluster), self._pace.file_check)

    def _is_due(self, access: Access) -> bool:
        return self._files.are_due or self._has_expired(access)

    def _has_expired(self, access: Access) -> bool:
        if access.expires_at is None or self._cluster.source is None:
            return False
        return time.time() >= access.expires_at and self._readings_of_expired.left <= 0

    async def _read_first(self) -> Access:
        source = self._cluster.source
        if self._failure is None or self._readings.may_begin():
            await self._files.have_changed()  # looks at them for the first time
            asks = source is not None and source.newest is None
            await self._read(asks=asks)
            if asks:  # and not once more if this machine's clock is wrong
                self._readings_of_expired.may_begin()
        if self._access is None:
            raise self._failure or self._unavailable("nothing was read")
        return self._access

    async def _read_expired(self, expired: Access) -> None:
        self._readings_of_expired.may_begin()
        await self._read(asks=True)
        if self.is_newer_than(expired):
            self._readings_of_expired.reset()

    async def _read(self, *, asks: bool) -> None:
        """Read everything, and keep what there was if that fails: a file may be half written at the moment."""
        try:
            cluster = await self._ask() if asks else self._cluster
            access = await asyncio.to_thread(
                load_access, cluster, self._access, margin=self._pace.expiry_margin
            )
        except AirflowSynapseError as exc:
            self._failure = exc
            return
        if files_of(cluster) != files_of(self._cluster):
            self._files = self._files_of(cluster)
        self._cluster = cluster
        if cluster.source is not None:
            cluster.source.newest = replace(cluster, source=None)
        self._failure, self._access = None, access

    async def _ask(self) -> RayCluster:
        """Ask the source, if there is one. What hangs is not asked twice, but waited for again."""
        cluster = self._cluster
        if cluster.source is None:
            return cluster
        if self._asking is None:
            self._asking = asyncio.create_task(_awaited(cluster.source.read(cluster)))
        asking = self._asking
        await asyncio.wait({asking}, timeout=cluster.request_timeout)
        if not asking.done():
            raise self._unavailable("there was no answer in time")
        self._asking = None
        try:
            read = asking.result()
        except AirflowSynapseError:
            raise
        except Exception as exc:  # whatever the source is made of
            raise self._unavailable(type(exc).__name__) from exc
        if read.address != cluster.address:  # its credentials must not be sent here
            raise self._unavailable(f"the connection has another address now, {read.address}")
        return replace(read, request_timeout=cluster.request_timeout, source=cluster.source)

    def _unavailable(self, why: str) -> RayClusterUnreachableError:
        return RayClusterUnreachableError(
            cluster=self._cluster.address,
            reason=f"its credentials can't be read: {why}",
            hint="Check where they come from.",
        )


class Refusals:
    """How often one call was refused, and whether it may be tried again.

    :param credentials: The session's credentials.
    :param patience: Seconds for which it may be refused.
    :param patience_if_others: The same, if the cluster lets other calls in meanwhile. Then the credentials are
        good, but not for this.
    """

    def __init__(
        self, credentials: Credentials, patience: float, patience_if_others: float
    ) -> None:
        self._credentials = credentials
        self._patience = patience
        self._patience_if_others = patience_if_others
        self._first: float | None = None

    async def wait_out(
        self, error: RayAuthenticationError | CertificateRefusedError, refused: Access
    ) -> None:
        """Return when the call should be tried again, with other credentials if there are any.

        A certificate that was never good is not waited for: that is a mistake, and no renewal.

        :param refused: What was sent.
        :raises RayAuthenticationError: the error, if it was refused for too long.
        :raises RayAddressError: the same, if it is about a certificate.
        """
        credentials, is_first = self._credentials, self._first is None
        is_mistake = isinstance(error, RayAddressError) and not credentials.account.accepted_at
        left = self._left(credentials.account.note_refusal(error))
        if credentials.is_newer_than(refused) and (is_first or left > 0) and not is_mistake:
            return
        pause = credentials.pause
        may_go_on = left > 0 or (is_first and pause <= 0)
        if is_mistake or not (credentials.may_become_good and may_go_on):
            raise self._final(error)
        if pause > 0:
            credentials.account.tell(error, credentials.trouble)
            await asyncio.sleep(min(pause, left))
        await credentials.read_again(refused)

    def _final(
        self, error: RayAuthenticationError | CertificateRefusedError
    ) -> RayAuthenticationError | RayAddressError:
        if isinstance(error, RayAddressError):
            return RayAddressError(address=error.address, reason=error.reason, hint=error.hint)
        return RayAuthenticationError(
            cluster=error.cluster,
            http_status=error.http_status,
            job_id=error.job_id,
            tried_for=time.monotonic() - (self._first or time.monotonic()),
            trouble=self._credentials.trouble,
            told=error.told,
            hint=error.hint,
        )

    def _left(self, since: float) -> float:
        """Return how many seconds of patience are left.

        :param since: Since when the cluster has refused everything.
        """
        now = time.monotonic()
        if self._first is None:
            self._first = now
        lets_others_in = (self._credentials.account.accepted_at or 0.0) > self._first
        patience = self._patience
        if lets_others_in:
            patience = min(patience, self._patience_if_others)
        return min(self._first, since) + patience - now


class _Pauses:
    """Pauses that grow, between things that must not be done too often.

    :param first: The first pause in seconds.
    :param longest: The longest.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._next = first
        self._until = 0.0

    @property
    def left(self) -> float:
        """Seconds until it may be done again."""
        return max(0.0, self._until - time.monotonic())

    def may_begin(self) -> bool:
        """Return whether it may be done now. If so, the next pause begins."""
        if self.left > 0:
            return False
        self._until = time.monotonic() + self._next
        self._next = min(self._longest, self._next * 2)
        return True

    def reset(self) -> None:
        """Let the next pause be the first again."""
        self._next = self._first


async def _awaited(read: Awaitable[RayCluster]) -> RayCluster:
    return await read
