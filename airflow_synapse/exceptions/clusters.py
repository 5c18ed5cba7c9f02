"""Errors about a cluster that can't be used."""

from __future__ import annotations

from http import HTTPStatus

from airflow_synapse.exceptions.base import AirflowSynapseError

_IS_IT_UP = "Check that the head node is up and that this machine can reach its dashboard port."
_IS_IT_RAY = (
    "Something other than a Ray dashboard may answer there: check host, port and path. If it is a login page, "
    "give the credentials that its proxy requires."
)


class RayClusterUnreachableError(AirflowSynapseError):
    """The cluster's dashboard gave no usable answer. Another try may succeed.

    :param cluster: The cluster's address.
    :param reason: What happened, as a clause.
    :param job_id: The job that the call was about, if any. It may still be running.
    :param hint: What to check.
    :param retry_after: Seconds to wait before the next try, if the server asked for it.
    :param http_status: The status of the answer that was not usable, None if there was no answer.
    """

    def __init__(
        self,
        *,
        cluster: str,
        reason: str,
        job_id: str | None = None,
        hint: str = "",
        retry_after: float | None = None,
        http_status: int | None = None,
    ) -> None:
        super().__init__(
            cluster=cluster,
            reason=reason,
            job_id=job_id,
            hint=hint,
            retry_after=retry_after,
            http_status=http_status,
        )

    cluster: str
    reason: str
    job_id: str | None
    hint: str
    retry_after: float | None
    http_status: int | None

    def about(self, job_id: str | None) -> RayClusterUnreachableError:
        """Return another error that says the same about a job, or about none."""
        return RayClusterUnreachableError(**{**self._facts, "job_id": job_id})

    def sentence(self) -> str:
        about = f" Job {self.job_id} may still be running there." if self.job_id else ""
        hint = self.hint or (_IS_IT_RAY if self.http_status == HTTPStatus.OK else _IS_IT_UP)
        return f"The Ray cluster at {self.cluster} is unreachable: {self.reason}.{about} {hint}"


class RayAuthenticationError(AirflowSynapseError):
    """The cluster rejected the credentials (401) or denied permission (403).

    :param cluster: The cluster's address.
    :param http_status: 401 or 403.
    :param job_id: The job that the call was about, if any. It may still be running.
    :param tried_for: Seconds for which the credentials were read again and refused again.
    :param trouble: Why they could not be read again, as a clause, if so.
    :param told: What was answered, as a clause, if it says more than the status.
    :param hint: What to do, if that is known.
    """

    def __init__(
        self,
        *,
        cluster: str,
        http_status: int,
        job_id: str | None = None,
        tried_for: float = 0.0,
        trouble: str = "",
        told: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(
            cluster=cluster,
            http_status=http_status,
            job_id=job_id,
            tried_for=tried_for,
            trouble=trouble,
            told=told,
            hint=hint,
        )

    cluster: str
    http_status: int
    job_id: str | None
    tried_for: float
    trouble: str
    told: str
    hint: str

    @property
    def reason(self) -> str:
        """What happened, as a clause."""
        return self.told or f"it answered {self.http_status}"

    def about(self, job_id: str | None) -> RayAuthenticationError:
        """Return another error that says the same about a job, or about none."""
        return RayAuthenticationError(**{**self._facts, "job_id": job_id})

    def sentence(self) -> str:
        if self.http_status == 401:
            why = "it came without valid credentials (401)"
            todo = (
                "Set the connection's password to the cluster's token, or set the headers or cookies that "
                "your proxy expects."
            )
        else:
            why = "its credentials were recognized but rejected (403)"
            todo = "The token is wrong or has expired, or it has no permission to use the Jobs API."
        why, todo = self.told or why, self.hint or todo
        again = ""
        if self.tried_for >= 0.1:
            digits = 0 if self.tried_for >= 1 else 1
            again = f" They were read again for {self.tried_for:.{digits}f} s"
            again += f", but {self.trouble}." if self.trouble else ", and refused each time."
        about = f" Job {self.job_id} may still be running there." if self.job_id else ""
        return f"The Ray cluster at {self.cluster} refused the request: {why}.{again}{about} {todo}"


class RayAddressError(AirflowSynapseError):
    """The cluster's address or TLS settings can't be used.

    :param address: What was given, without credentials.
    :param reason: What is wrong with it, as a clause.
    :param hint: What to do; the default asks for another address.
    """

    def __init__(self, *, address: str, reason: str, hint: str = "") -> None:
        hint = hint or "Use a URL such as http://head-node:8265."
        super().__init__(address=address, reason=reason, hint=hint)

    address: str
    reason: str
    hint: str

    def sentence(self) -> str:
        if "://" in self.address or " " not in self.address:
            what = f"{self.address!r} can't be used as the address of a Ray dashboard"
        else:  # a connection or an argument, which lead to an address
            what = f"{self.address!r} can't be used"
        return f"{what}: {self.reason}. {self.hint}"
