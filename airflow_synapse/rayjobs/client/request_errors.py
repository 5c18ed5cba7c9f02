"""Decides which failed requests are worth another try. Pure."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp

REQUEST_ERRORS = (aiohttp.ClientError, OSError, asyncio.TimeoutError)
"""What a request may raise."""

RETRYABLE_STATUSES = {
    404: "a proxy in front of the dashboard has no backend at the moment",
    408: "the server gave up waiting for the request",
    421: "a proxy sent the request to the wrong backend",
    425: "the server does not want to process it yet",
    429: "the server asks to slow down",
    500: "the dashboard had an internal error, as it does while a head node starts or stops",
    502: "a proxy did not reach the dashboard",
    503: "the dashboard is not ready",
    504: "a proxy got no answer from the dashboard in time",
    520: "a CDN got an odd answer from the dashboard",
    522: "a CDN could not connect to the dashboard",
    524: "a CDN got no answer from the dashboard in time",
}
"""HTTP statuses that may not come again at the next try, each with its usual meaning.

404 is here because Ray's own "Job … does not exist" is recognized by its text. Any other 404 does not come
from the Jobs API.
"""

ERRORS: dict[str, tuple[bool, str]] = {
    # Only a person can fix these.
    "ClientConnectorCertificateError": (False, "its certificate can't be verified"),
    "ServerFingerprintMismatch": (False, "its certificate is not the expected one"),
    "ClientSSLError": (False, "no TLS connection could be made; is it https at all?"),
    "ClientConnectorSSLError": (False, "no TLS connection could be made; is it https at all?"),
    "SSLError": (False, "no TLS connection could be made; is it https at all?"),
    "InvalidURL": (False, "the URL is malformed"),
    "InvalidUrlClientError": (False, "the URL is malformed"),
    "InvalidUrlRedirectClientError": (False, "it redirects to a malformed URL"),
    "NonHttpUrlClientError": (False, "the URL is neither http nor https"),
    "NonHttpUrlRedirectClientError": (False, "it redirects to something that is not HTTP"),
    # A head node starts, a proxy reloads, a network is unstable.
    "ClientConnectorDNSError": (True, "its name could not be resolved"),
    "ClientConnectorError": (True, "the connection was refused or could not be made"),
    "ClientProxyConnectionError": (True, "the proxy could not be reached"),
    "ClientHttpProxyError": (True, "the proxy refused the request"),
    "UnixClientConnectorError": (True, "the socket could not be opened"),
    "ConnectionTimeoutError": (True, "the connection could not be made in time"),
    "SocketTimeoutError": (True, "it did not answer in time"),
    "ServerTimeoutError": (True, "it did not answer in time"),
    "ServerDisconnectedError": (True, "it closed the connection without an answer"),
    "ServerConnectionError": (True, "the connection broke"),
    "ClientConnectionResetError": (True, "the connection was reset"),
    "ClientOSError": (True, "the connection broke"),
    "ClientConnectionError": (True, "the connection broke"),
    "ClientPayloadError": (True, "its answer was cut off"),
    "UploadAbortedError": (True, "it stopped reading what was sent"),
    # Something other than a Ray dashboard answered: an error page, a login page, a proxy.
    "ContentTypeError": (True, "its answer is not what a Ray dashboard sends"),
    "TooManyRedirects": (True, "it redirects in circles, as a login page does"),
    "RedirectClientError": (True, "it redirects instead of answering"),
    "WSServerHandshakeError": (True, "it refused to open a websocket"),
    "WSMessageTypeError": (True, "the websocket sent something unexpected"),
    "WebSocketError": (True, "the websocket broke"),
    "ClientResponseError": (True, "its answer is not valid HTTP"),
    "ClientError": (True, "the request failed"),
    # Below aiohttp.
    "TimeoutError": (True, "it did not answer in time"),
    "IncompleteReadError": (True, "its answer was cut off"),
    "ConnectionError": (True, "the connection broke"),
    "OSError": (True, "the network failed"),
}
"""Errors of a request, by class name: whether another try may succeed, and what happened.

They are listed by name, because an older aiohttp lacks some classes. An error is looked up by its class and
then by each base class. A test compares the table with the installed aiohttp.
"""


_OTHER_PROTOCOL = "Check the port, and use http:// if the server has no TLS."

_HINTS = {
    "ClientConnectorCertificateError": (
        "If your own CA signed it, set verify to the path of that CA's bundle."
    ),
    "ClientSSLError": _OTHER_PROTOCOL,
    "ClientConnectorSSLError": _OTHER_PROTOCOL,
    "SSLError": _OTHER_PROTOCOL,
}


@dataclass(frozen=True)
class Failure:
    """What a failed request means.

    :param is_retryable: Whether the same request may succeed later.
    :param reason: What happened, as a clause about the server.
    :param hint: What to do, as a sentence, if another try would fail as well and we know the remedy.
    """

    is_retryable: bool
    reason: str
    hint: str = ""


def classify_error(error: BaseException) -> Failure:
    """Return whether a request that raised ``error`` is worth another try, and why.

    :raises TypeError: if a request can't raise this error.
    """
    for kind in type(error).__mro__:
        if kind.__name__ in ERRORS:
            is_retryable, reason = ERRORS[kind.__name__]
            hint = _HINTS.get(kind.__name__, "")
            return Failure(is_retryable, f"{reason} ({_detail(error)})", hint)
    raise TypeError(f"not an error of a request: {error!r}")


def classify_status(status: int) -> Failure:
    """Return whether an answer with this HTTP status is worth another try, and why."""
    known = RETRYABLE_STATUSES.get(status)
    if known:
        return Failure(is_retryable=True, reason=f"it answered {status}: {known}")
    return Failure(
        is_retryable=status >= 500,
        reason=f"it answered {status}, which a Ray dashboard does not",
    )


def _detail(error: BaseException) -> str:
    """Return the kind of the error and the system's words, without URL or headers."""
    os_error = getattr(error, "os_error", None) or error
    text = getattr(os_error, "strerror", None)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
