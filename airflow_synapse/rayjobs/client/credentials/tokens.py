"""Where a token comes from if it changes: a file, or a callable that is asked."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import stat
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from airflow_synapse.exceptions import RayAddressError
from airflow_synapse.plurals import a_kind
from airflow_synapse.rayjobs.models import RayCluster

TokenCallable = Callable[[], "str | Awaitable[str]"]

LONGEST_TOKEN = 64 * 1024
"""Bytes of a token file that are read. Servers refuse longer headers."""


class AskedToken:
    """A token that a callable gives. It is kept until somebody has a reason to ask again.

    :param ask: Returns the token, or an awaitable of it. An ordinary function is called in a thread.
    """

    def __init__(self, ask: TokenCallable) -> None:
        self._ask = ask
        self.newest: RayCluster | None = None

    async def read(self, cluster: RayCluster) -> RayCluster:
        """Return the cluster with the token that the callable gives now.

        :raises RayAddressError: if it gives no string.
        """
        given = self._ask() if _is_async(self._ask) else await asyncio.to_thread(self._ask)
        token = await given if inspect.isawaitable(given) else given
        if not isinstance(token, str) or not token.strip():
            what = "an empty string" if isinstance(token, str) else a_kind(token)
            raise RayAddressError(
                address=cluster.address,
                reason=f"the callable that gives its token returned {what}",
                hint="It must return the token as a string.",
            )
        return replace(cluster, token=token)


def _is_async(ask: TokenCallable) -> bool:
    return inspect.iscoroutinefunction(ask) or inspect.iscoroutinefunction(
        getattr(ask, "__call__", None)  # noqa: B004  # an object with an async __call__
    )


def read_token_file(cluster: RayCluster, path: str) -> str:
    """Return the token in a file. Blocks.

    :raises RayAddressError: if there is no such file, or no token in it.
    """
    try:
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode):  # reading a pipe might never end
            raise _unusable(cluster, path, "is not a file")
        if found.st_size > LONGEST_TOKEN:
            raise _unusable(cluster, path, f"has {found.st_size} bytes, which no token has")
        with Path(path).open(encoding="utf-8") as file:
            token = file.read(LONGEST_TOKEN).strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise _unusable(cluster, path, f"can't be read ({type(exc).__name__})") from None
    if not token:
        raise _unusable(cluster, path, "is empty")
    return token


def _unusable(cluster: RayCluster, path: str, what: str) -> RayAddressError:
    return RayAddressError(
        address=cluster.address,
        reason=f"the token file {path} {what}",
        hint="Give the path of a file that exists on this machine and holds nothing but the token.",
    )


def expiry_of(token: str | None) -> float | None:
    """Return when a token expires, in seconds since the epoch, None if it does not say.

    Only JSON Web Tokens say so. The signature is not looked at, because nothing is decided by it.
    """
    parts = (token or "").split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
