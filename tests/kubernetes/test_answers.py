"""What an API server answers for a Ray cluster, the same from the stub and from a real one."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local_services.kubernetes.rig import NAMESPACE, KubernetesRig
from tests.kubernetes.api_answers import ApiAnswer, ask
from tests.kubernetes.ray_clusters import PODS, KubeRayCluster, wait_for
from tests.support.kubernetes import stub_api_server
from tests.support.kubernetes.stub_api_server import StubApiServer
from tests.support.stub_dashboard import StubDashboard

pytestmark = pytest.mark.timeout(600)

_ECHO = """
import http.server

class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{self.path}\\n{self.headers}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Echo).serve_forever()
"""


@dataclass(frozen=True)
class Side:
    """The stub or a real API server, with one Ray cluster.

    :param powerless: Gives the token of somebody who may not do a verb to a resource.
    :param starting: Gives the name of a cluster whose head does not listen yet.
    """

    url: str
    token: str
    ca: Path | None
    cluster: str
    powerless: Callable[[str, str], str]
    starting: Callable[[], str]

    def look(self, path: str, *, token: str | None = None, **headers: str) -> ApiAnswer:
        """Ask for a path as somebody who may do everything, or as the bearer of ``token``."""
        return ask(self.url + path, token=token or self.token, ca=self.ca, headers=headers)


@pytest.fixture(params=["stub", "kubernetes"])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    """What is said of both, one after the other."""
    if request.param == "stub":
        with (
            StubDashboard() as dashboard,
            StubApiServer(dashboard.url, dashboard.agent_url) as server,
        ):
            yield _stub(server)
    else:
        yield request.getfixturevalue("real")


def _stub(server: StubApiServer) -> Side:
    def powerless(verb: str, resource: str) -> str:
        server.denied.add((verb, resource))
        return server.valid

    def starting() -> str:
        server.is_head_up = False
        return stub_api_server.NAME

    return Side(
        server.url,
        server.valid,
        None,
        cluster=stub_api_server.NAME,
        powerless=powerless,
        starting=starting,
    )


@pytest.fixture
def real(cluster: KubeRayCluster, own_cluster: KubeRayCluster) -> Side:
    """The real API server."""
    rig = cluster.rig

    def starting() -> str:
        own_cluster.create(head={"command": ["sleep", "600"]})
        wait_for("the head", lambda: own_cluster.head_pod()["status"].get("podIP"))
        return own_cluster.name

    return Side(
        rig.url,
        rig.certificates.token("admin"),
        rig.certificates.ca,
        cluster=cluster.name,
        powerless=lambda verb, resource: rig.account_token("default"),
        starting=starting,
    )


def dashboard(name: str, path: str = "/api/version", *, port: str = "dashboard") -> str:
    return f"/api/v1/namespaces/{NAMESPACE}/services/{name}-head-svc:{port}/proxy{path}"


def test_cluster_that_is_not_there(side: Side) -> None:
    """The API server says that there is no such service, and no such RayCluster."""
    service = side.look(dashboard("no-cluster"))
    ray_cluster = side.look(f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayclusters/no-cluster")

    for answer in (service, ray_cluster):
        assert (answer.status, answer.is_status, answer.reason) == (404, True, "NotFound")
    assert service.message == 'services "no-cluster-head-svc" not found'
    assert ray_cluster.message == 'rayclusters.ray.io "no-cluster" not found'


def test_job_that_is_not_there(side: Side) -> None:
    """Ray's own 404 is plain text and comes through as it is."""
    answer = side.look(dashboard(side.cluster, "/api/jobs/no-job"))

    assert (answer.status, answer.is_status) == (404, False)
    assert answer.message == "Job no-job does not exist"


def test_head_that_starts(side: Side) -> None:
    """Until the head listens, the API server says that it can't reach it."""
    path = dashboard(side.starting())

    def refused() -> ApiAnswer | None:
        answer = side.look(path)
        return answer if "trying to reach service" in answer.message else None

    answer = wait_for("a refusal", refused)

    assert (answer.status, answer.is_status, answer.reason) == (503, True, "ServiceUnavailable")
    assert re.fullmatch(
        r"error trying to reach service: dial tcp [\d.]+:8265: connect: connection refused",
        answer.message,
    )


@pytest.mark.parametrize(
    ("path", "what", "verb", "resource", "group"),
    [
        (
            "/api/v1/namespaces/{ns}/services/{name}-head-svc:dashboard/proxy/api/version",
            'services "{name}-head-svc:dashboard"',
            *("get", "services/proxy", ""),
        ),
        (
            "/api/v1/namespaces/{ns}/pods/a-pod:52365/proxy/logs/",
            'pods "a-pod:52365"',
            *("get", "pods/proxy", ""),
        ),
        ("/api/v1/namespaces/{ns}/pods", "pods", "list", "pods", ""),
        (
            "/apis/ray.io/v1/namespaces/{ns}/rayclusters",
            "rayclusters.ray.io",
            *("list", "rayclusters", "ray.io"),
        ),
        ("/api/v1/namespaces/{ns}/secrets/{name}", 'secrets "{name}"', "get", "secrets", ""),
    ],
)
def test_missing_rights(
    side: Side, path: str, what: str, verb: str, resource: str, group: str
) -> None:
    """The refusal names what, who, which verb, and where."""
    names = {"ns": NAMESPACE, "name": side.cluster}

    answer = side.look(path.format_map(names), token=side.powerless(verb, resource))

    assert (answer.status, answer.is_status, answer.reason) == (403, True, "Forbidden")
    assert re.sub('User "[^"]+"', "WHO", answer.message) == (
        f'{what.format_map(names)} is forbidden: WHO cannot {verb} resource "{resource}" '
        f'in API group "{group}" in the namespace "{NAMESPACE}"'
    )


def test_token_that_nobody_knows(side: Side) -> None:
    """A wrong Kubernetes token is refused before anything is looked at."""
    answer = side.look(dashboard(side.cluster), token="wrong")

    assert (answer.status, answer.is_status, answer.reason) == (401, True, "Unauthorized")
    assert answer.message == "Unauthorized"


def test_port_that_is_not_there(real: Side) -> None:
    """A service without that port has no endpoints."""
    answer = real.look(dashboard(real.cluster, port="other"))

    assert (answer.status, answer.is_status, answer.reason) == (503, True, "ServiceUnavailable")
    assert answer.message.startswith("no endpoints available for service")


def test_resource_that_kubernetes_does_not_know(real: Side) -> None:
    """Without KubeRay there is no such path, and the answer is no Status."""
    answer = real.look("/apis/ray.example/v1/namespaces/ray/rayclusters")

    assert (answer.status, answer.is_status) == (404, False)
    assert answer.text == "404 page not found\n"


def test_only_authorization_is_stripped(rig: KubernetesRig, real: Side) -> None:
    """The API server keeps its own token to itself; the header of Ray's token passes."""
    name = f"echo-{uuid.uuid4().hex[:8]}"
    main = {"name": "main", "image": next(iter(rig.images)), "command": ["python", "-c", _ECHO]}
    rig.api.create(PODS, {"metadata": {"name": name}, "spec": {"containers": [main]}})
    path = f"{PODS}/{name}:8000/proxy/some/path?a=b"
    headers = {"X-Ray-Authorization": "Bearer of-ray", "Range": "bytes=1-2"}

    def echoed() -> str | None:
        answer = real.look(path, **headers)
        return answer.text.lower() if answer.status == 200 else None

    seen = wait_for("an echo", echoed)

    assert seen.startswith("/some/path?a=b")
    assert "x-ray-authorization: bearer of-ray" in seen
    assert "range: bytes=1-2" in seen
    assert "\nauthorization:" not in seen
    rig.api.delete(f"{PODS}/{name}", {"gracePeriodSeconds": 0})
