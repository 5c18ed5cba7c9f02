"""Says what an answer means that came from a Kubernetes API server, or from Ray through it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from airflow_synapse.exceptions import (
    RayAuthenticationError,
    RayClusterGoneError,
    RayClusterUnreachableError,
)
from airflow_synapse.rayjobs.client.answers import Question, error_of_answer, retry_after
from airflow_synapse.rayjobs.client.kubernetes.rights import missing_right, role
from airflow_synapse.rayjobs.models import KubernetesPlace

_LONGEST = 300
"""Characters of the API server's own text that an error repeats."""

_HEAD_STARTS = "error trying to reach service"
_SERVER_STARTS = "before all known HTTP paths have been installed"

_LOOK_AT_IT = (
    "The token of the Kubernetes connection is wrong or has expired. Check the connection, or the exec plugin "
    "or file that its token comes from."
)


class KubernetesAnswerError(Exception):
    """The API server refused a request about its own objects.

    :param status: The HTTP status.
    :param reason: Kubernetes' word for it, such as ``NotFound``.
    :param message: Its sentence.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


def status_of(text: str) -> Mapping[str, Any] | None:
    """Return the ``Status`` object that an API server sends, None if something else answered."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_status = isinstance(found, dict) and found.get("kind") == "Status"
    return found if is_status else None


def error_of_proxied_answer(
    place: KubernetesPlace, question: Question, status: int, headers: Mapping[str, str], text: str
) -> Exception:
    """Return the error for an answer other than 200 to a request that went through the API server to Ray."""
    told = status_of(text)
    message = str((told or {}).get("message") or text).strip()[:_LONGEST]
    if told is not None and status == HTTPStatus.NOT_FOUND:
        return RayClusterGoneError(
            job_id=question.job_id, cluster=str(place), reason=_gone(message)
        )
    if told is not None and status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return refusal(place, question, status, message)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return RayClusterUnreachableError(
            cluster=question.cluster,
            reason=_why_unavailable(place, message),
            job_id=question.job_id,
            hint=f"Look at it with `kubectl describe raycluster {place.name} -n {place.namespace}`.",
            retry_after=retry_after(headers),
        )
    return error_of_answer(question, status, headers, text)


def error_of_api_server(
    place: KubernetesPlace, question: Question, status: int, headers: Mapping[str, str], text: str
) -> Exception:
    """Return the error for an answer other than 200 to a request about the API server's own objects."""
    told = status_of(text)
    message = str((told or {}).get("message") or text).strip()[:_LONGEST]
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return refusal(place, question, status, message)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        return RayClusterUnreachableError(
            cluster=question.cluster,
            reason=f"the Kubernetes API server answered {status}: {message}",
            hint="Check that the API server is up and can be reached from this machine.",
            retry_after=retry_after(headers),
        )
    return KubernetesAnswerError(status, str((told or {}).get("reason") or ""), message)


def refusal(
    place: KubernetesPlace, question: Question, status: int, message: str
) -> RayAuthenticationError:
    """Return the error for an API server that does not let us in, or not to this."""
    right = missing_right(message)
    hint = _LOOK_AT_IT
    if right is not None:
        hint = f"Bind a Role with this right to it:\n{role(place.namespace, [right])}"
    elif status == HTTPStatus.FORBIDDEN:
        hint = "Ask who looks after the Kubernetes cluster for the right that is missing."
    return RayAuthenticationError(
        cluster=question.cluster,
        http_status=status,
        job_id=None if question.is_submission else question.job_id,
        told=f"Kubernetes answered {status}: {message.rstrip('.')}",
        hint=hint,
    )


def _gone(message: str) -> str:
    return f"Kubernetes does not know it (any more) and answered: {message.rstrip('.')}"


def _why_unavailable(place: KubernetesPlace, message: str) -> str:
    if _SERVER_STARTS in message:
        return "the Kubernetes API server is starting"
    if _HEAD_STARTS in message or "no endpoints available" in message:
        return f"the head of Ray cluster {place} does not answer, as while it starts ({message})"
    return f"Kubernetes answered 503: {message}"
