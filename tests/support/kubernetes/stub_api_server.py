"""The part of a Kubernetes API server that airflow-synapse talks to, in front of a dashboard.

Every claim it makes about Kubernetes is held against a real one by ``tests/kubernetes``.
"""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from aiohttp import web

from tests.support.stub_server import StubServer
from tests.support.token_proxy import pass_on

NAMESPACE = "ray"
NAME = "train"
POD = "train-head-abcde"

_CORE = "/api/v1/namespaces/{namespace}"
_RAY = "/apis/ray.io/v1"
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}

REFUSED = "error trying to reach service: dial tcp 10.0.0.1:8265: connect: connection refused"
STARTING = "the request has been made before all known HTTP paths have been installed, please retry"


class StubApiServer(StubServer):
    """An API server of one namespace with one RayCluster.

    :param dashboard_url: The dashboard of its head.
    :param agent_url: The agent of its head.
    """

    def __init__(self, dashboard_url: str, agent_url: str) -> None:
        super().__init__(token=None, clock=time.monotonic)
        self.url = ""
        self.valid = "kubernetes-token"
        self.denied: set[tuple[str, str]] = set()
        self.clusters: dict[str, dict[str, Any]] = {NAME: a_ray_cluster()}
        self.secrets: dict[str, dict[str, str]] = {}
        self.events: list[dict[str, Any]] = []
        self.has_kuberay = True
        self.is_head_up = True
        self._dashboard_url = dashboard_url
        self._agent_url = agent_url
        self._session: aiohttp.ClientSession | None = None

    def kubeconfig(self, folder: Path) -> Path:
        """Write a kubeconfig with the token of this moment."""
        path = folder / "kubeconfig"
        name = "stub"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": self.url}}],
            "users": [{"name": name, "user": {"token": self.valid}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        }
        path.write_text(json.dumps(config))
        return path

    async def open_ports(self) -> None:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        clusters = f"{_RAY}/namespaces/{{namespace}}/rayclusters"
        self.url = await self.serve(
            [
                ("GET /version", self._version),
                ("GET /apis/ray.io", self._versions),
                (f"GET {clusters}", self._list_clusters),
                (f"POST {clusters}", self._create_cluster),
                (f"GET {clusters}/{{name}}", self._get_cluster),
                (f"GET {_CORE}/pods", self._list_pods),
                (f"GET {_CORE}/events", self._list_events),
                (f"GET {_CORE}/secrets/{{name}}", self._get_secret),
                ("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", self._review),
                (f"* {_CORE}/services/{{service}}/proxy/{{path:.*}}", self._proxy_service),
                (f"* {_CORE}/pods/{{pod}}/proxy/{{path:.*}}", self._proxy_pod),
            ]
        )

    async def __aexit__(self, *error: object) -> None:
        if self._session is not None:
            await self._session.close()
        await super().__aexit__(*error)

    # Kubernetes' own objects

    async def _version(self, request: web.Request) -> web.Response:
        return self._refusal(request, "", "") or web.json_response({"gitVersion": "v1.36.3"})

    async def _versions(self, request: web.Request) -> web.Response:
        if not self.has_kuberay:
            return not_a_path()
        found = {"kind": "APIGroup", "versions": [{"version": "v1"}, {"version": "v1alpha1"}]}
        return self._refusal(request, "", "") or web.json_response(found)

    async def _create_cluster(self, request: web.Request) -> web.Response:
        refusal = self._refusal(request, "create", "rayclusters", "ray.io")
        assert request.query.get("dryRun") == "All"
        return refusal or web.json_response(await request.json(), status=201)

    async def _list_clusters(self, request: web.Request) -> web.Response:
        if not self.has_kuberay:
            return not_a_path()
        found = {"items": list(self.clusters.values())}
        refusal = self._refusal(request, "list", "rayclusters", "ray.io")
        return refusal or web.json_response(found)

    async def _get_cluster(self, request: web.Request) -> web.Response:
        if not self.has_kuberay:
            return not_a_path()
        name = request.match_info["name"]
        refusal = self._refusal(request, "get", "rayclusters", "ray.io", name=name)
        if refusal is not None:
            return refusal
        if name not in self.clusters:
            return not_found("rayclusters.ray.io", name)
        return web.json_response(self.clusters[name])

    async def _list_pods(self, request: web.Request) -> web.Response:
        # One of them is the address that jobs name as that of their agent.
        own = [a.address for all_of in psutil.net_if_addrs().values() for a in all_of]
        pods = [
            {
                "metadata": {"name": POD, "namespace": NAMESPACE},
                "status": {"podIP": address, "phase": "Running"},
            }
            for address in own
        ]
        found = {"items": pods if NAME in self.clusters else []}
        return self._refusal(request, "list", "pods") or web.json_response(found)

    async def _list_events(self, request: web.Request) -> web.Response:
        return self._refusal(request, "list", "events") or web.json_response({"items": self.events})

    async def _get_secret(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        refusal = self._refusal(request, "get", "secrets", name=name)
        if refusal is not None:
            return refusal
        if name not in self.secrets:
            return not_found("secrets", name)
        data = {k: base64.b64encode(v.encode()).decode() for k, v in self.secrets[name].items()}
        return web.json_response({"metadata": {"name": name}, "data": data})

    async def _review(self, request: web.Request) -> web.Response:
        asked = (await request.json())["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (asked["resource"], asked["subresource"])))
        allowed = (asked["verb"], resource) not in self.denied
        answer = web.json_response({"status": {"allowed": allowed}}, status=201)
        return self._refusal(request, "", "") or answer

    # Ways to the Ray cluster

    async def _proxy_service(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["service"].partition(":")[0].removesuffix("-head-svc")
        service = request.match_info["service"]
        verb = _VERBS[request.method]
        refusal = self._refusal(request, verb, "services/proxy", name=service)
        if refusal is not None:
            return refusal
        if name not in self.clusters:
            return not_found("services", f"{name}-head-svc")
        if not self.is_head_up:
            return status_answer(503, "ServiceUnavailable", REFUSED)
        return await self._pass_on(request, self._dashboard_url)

    async def _proxy_pod(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refusal(request, "get", "pods/proxy", name=request.match_info["pod"])
        if refusal is not None:
            return refusal
        pod, _, port = request.match_info["pod"].partition(":")
        if pod != POD or not self._agent_url.endswith(f":{port}"):
            return not_found("pods", pod)
        return await self._pass_on(request, self._agent_url)

    async def _pass_on(self, request: web.Request, target: str) -> web.StreamResponse:
        assert self._session is not None
        rest = re.sub(r"^.*?/proxy/", "/", request.raw_path)
        return await pass_on(self._session, request, target + rest, without="Authorization")

    def _refusal(
        self, request: web.Request, verb: str, resource: str, group: str = "", *, name: str = ""
    ) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer {self.valid}":
            return status_answer(401, "Unauthorized", "Unauthorized")
        if (verb, resource) not in self.denied:
            return None
        kind = resource.partition("/")[0] + (f".{group}" if group else "")
        what = f'{kind} "{name}"' if name else kind
        message = (
            f'{what} is forbidden: User "airflow" cannot {verb} resource "{resource}" in API group '
            f'"{group}" in the namespace "{NAMESPACE}"'
        )
        return status_answer(403, "Forbidden", message)


def a_ray_cluster(name: str = NAME, **status: Any) -> dict[str, Any]:
    """Return a RayCluster whose head is ready, unless ``status`` says otherwise."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"namespace": NAMESPACE, "name": name, "uid": f"uid-of-{name}"},
        "spec": {"rayVersion": "2.60.0"},
        "status": {
            "conditions": [{"type": "HeadPodReady", "status": "True", "reason": "Running"}],
            "state": "ready",
            "observedGeneration": 1,
            "desiredWorkerReplicas": 1,
            "readyWorkerReplicas": 1,
            **status,
        },
    }


def status_answer(code: int, reason: str, message: str) -> web.Response:
    """Return the ``Status`` object of a Kubernetes API server."""
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    return web.json_response(status, status=code)


def not_found(resource: str, name: str) -> web.Response:
    return status_answer(404, "NotFound", f'{resource} "{name}" not found')


def not_a_path() -> web.Response:
    """Return what Kubernetes answers to a path that it does not know."""
    return web.Response(status=404, text="404 page not found\n")
