"""Closes what is open, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from anyio import CancelScope


async def close_for_sure(closing: Coroutine[Any, Any, None]) -> None:
    """Wait until something is closed. A cancellation that comes meanwhile takes effect after that.

    A task that is cancelled while it closes a connection would else leave it open. anyio's shield alone protects
    from cancelled scopes, but not from :meth:`asyncio.Task.cancel`.
    """
    work = asyncio.ensure_future(closing)
    cancelled: asyncio.CancelledError | None = None
    with CancelScope(shield=True):  # in a cancelled scope, anyio cancels each await
        while not work.done():
            try:
                await asyncio.wait({work})
            except asyncio.CancelledError as exc:
                cancelled = exc
    work.result()
    if cancelled is not None:
        raise cancelled
