"""Plain requests to the API server, for who sets it up and for tests."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MERGE_PATCH = "application/merge-patch+json"

_TIMEOUT = 30.0


class ClusterApiError(RuntimeError):
    """The API server refuses a request; ``status`` is its answer's."""

    def __init__(self, method: str, path: str, status: int, text: str) -> None:
        super().__init__(f"{method} {path}: {status} {text[:1000]}")
        self.status = status
        self.text = text


@dataclass(frozen=True)
class ClusterApi:
    """The API server, as one user sees it.

    :param url: For example ``https://10.244.77.1:6443``.
    :param token: The user's bearer token.
    :param ca: The certificate that signed the server's.
    """

    url: str
    token: str
    ca: Path

    def __repr__(self) -> str:
        return f"ClusterApi({self.url!r})"

    def get(self, path: str) -> Any:
        """Return an object or a list."""
        return self.request("GET", path)

    def find(self, path: str) -> Any:
        """Return an object, or None if there is none."""
        try:
            return self.get(path)
        except ClusterApiError as exc:
            if exc.status == 404:
                return None
            raise

    def create(self, path: str, body: Any) -> Any:
        """Create an object in a collection."""
        return self.request("POST", path, body)

    def patch(self, path: str, body: Any) -> Any:
        """Merge ``body`` into an object."""
        return self.request("PATCH", path, body, kind=MERGE_PATCH)

    def delete(self, path: str, body: Any = None) -> Any:
        """Delete an object."""
        return self.request("DELETE", path, body)

    def request(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json"
    ) -> Any:
        """Return the answer as JSON.

        :raises ClusterApiError: if the API server refuses.
        :raises OSError: if it does not answer.
        """
        return json.loads(self.read(method, path, body, kind=kind))

    def read(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json"
    ) -> bytes:
        """Return the bytes of the answer; errors as in :meth:`request`."""
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": kind},
            method=method,
        )
        tls = ssl.create_default_context(cafile=str(self.ca))
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT, context=tls) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as exc:
            text = exc.read().decode(errors="replace")
            raise ClusterApiError(method, path, exc.code, text) from exc
