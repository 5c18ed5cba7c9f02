"""The headers and cookies that authenticate us to a cluster. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_synapse.exceptions import RayAddressError
from airflow_synapse.plurals import a_kind
from airflow_synapse.rayjobs.models import DEFAULT_TOKEN_HEADER, RayCluster

TOKEN_HEADERS = (DEFAULT_TOKEN_HEADER, "X-Ray-Authorization", "Proxy-Authorization")
"""The headers that may carry the token. Kubernetes' API server removes the first, and Ray takes the second."""

OF_A_PROXY = "Proxy-Authorization"
"""The header that is meant for something in front of the cluster, never for the cluster itself."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_A_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def token_header_of(cluster: RayCluster) -> str:
    """Return the header that carries the token.

    :raises RayAddressError: if it can't be one.
    """
    for name in TOKEN_HEADERS:
        if str(cluster.token_header).strip().lower() == name.lower():
            return name
    raise RayAddressError(
        address=cluster.address,
        reason=f"token_header is {cluster.token_header!r}",
        hint=f"Use one of {', '.join(TOKEN_HEADERS)}.",
    )


def headers_of(cluster: RayCluster) -> dict[str, str]:
    """Return the request headers, including the token.

    :raises RayAddressError: if a header can't be sent. The error repeats no values.
    """
    headers, name = dict(cluster.headers), token_header_of(cluster)
    if cluster.token:
        headers = {k: v for k, v in headers.items() if str(k).lower() != name.lower()}
        # A token that comes from a file often ends with a newline.
        headers[name] = f"Bearer {cluster.token.strip()}"
    return _checked(cluster, "header", headers)


def cookies_of(cluster: RayCluster) -> dict[str, str]:
    """Return the request cookies.

    :raises RayAddressError: if a cookie can't be sent. The error repeats no values.
    """
    return _checked(cluster, "cookie", cluster.cookies)


def _checked(cluster: RayCluster, kind: str, fields: Mapping[Any, Any]) -> dict[str, str]:
    for name, value in fields.items():
        what = ""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            what = f"this is not a valid {kind} name"
        elif not isinstance(value, str):
            what = f"its value is {a_kind(value)}, not a string"
        elif _NOT_IN_A_VALUE.search(value):
            what = "its value contains a line break or another control character"
        if what:
            raise RayAddressError(
                address=cluster.address,
                reason=f"the {kind} {name!r} can't be sent: {what}",
                hint="Correct the token, headers and cookies.",
            )
    return dict(fields)
