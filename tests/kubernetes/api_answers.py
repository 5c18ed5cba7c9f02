"""One request to an API server as it is, real or not, and what comes back."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ApiAnswer:
    """An answer, with the fields of a ``Status`` if it is one."""

    status: int
    text: str

    @property
    def is_status(self) -> bool:
        """Whether the API server itself speaks, in its own words."""
        return self._json.get("kind") == "Status"

    @property
    def reason(self) -> str:
        """The ``reason`` of a ``Status``."""
        return str(self._json.get("reason", ""))

    @property
    def message(self) -> str:
        """The ``message`` of a ``Status``, else the whole text."""
        return str(self._json["message"]) if "message" in self._json else self.text.strip()

    @property
    def _json(self) -> dict[str, Any]:
        try:
            found = json.loads(self.text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def ask(
    url: str,
    *,
    token: str,
    ca: Path | None,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
) -> ApiAnswer:
    """Send one request, and return its answer whatever its status is."""
    request = urllib.request.Request(
        url, headers={"Authorization": f"Bearer {token}", **(headers or {})}, method=method
    )
    tls = ssl.create_default_context(cafile=str(ca)) if ca else None
    try:
        with urllib.request.urlopen(request, timeout=30, context=tls) as response:
            return ApiAnswer(response.status, response.read().decode())
    except urllib.error.HTTPError as exc:
        with exc:
            return ApiAnswer(exc.code, exc.read().decode())
