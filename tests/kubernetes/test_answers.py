"""What the API server answers for a Ray cluster, in the words that our code goes by."""

from __future__ import annotations

import uuid

import pytest

from local_services.kubernetes.rig import NAMESPACE, KubernetesRig
from tests.kubernetes.api_answers import ApiAnswer, ask
from tests.kubernetes.ray_clusters import PODS, KubeRayCluster, wait_for

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


def look(rig: KubernetesRig, path: str, *, token: str = "", **options: str) -> ApiAnswer:
    """Ask for a path of the API server; without ``token`` as somebody who may do everything."""
    token = token or rig.certificates.token("admin")
    return ask(rig.url + path, token=token, ca=rig.certificates.ca, headers=options)


def dashboard(name: str, path: str, *, port: str = "dashboard") -> str:
    return f"/api/v1/namespaces/{NAMESPACE}/services/{name}-head-svc:{port}/proxy{path}"


def test_cluster_that_is_not_there(rig: KubernetesRig) -> None:
    """The API server says that there is no such service."""
    answer = look(rig, dashboard("no-cluster", "/api/version"))

    assert (answer.status, answer.is_status, answer.reason) == (404, True, "NotFound")
    assert answer.message == 'services "no-cluster-head-svc" not found'


def test_job_that_is_not_there(cluster: KubeRayCluster) -> None:
    """Ray's own 404 is plain text and comes through as it is."""
    answer = look(cluster.rig, dashboard(cluster.name, "/api/jobs/no-job"))

    assert (answer.status, answer.is_status) == (404, False)
    assert answer.message == "Job no-job does not exist"


def test_port_that_is_not_there(cluster: KubeRayCluster) -> None:
    """A service without that port has no endpoints."""
    answer = look(cluster.rig, dashboard(cluster.name, "/api/version", port="other"))

    assert (answer.status, answer.is_status, answer.reason) == (503, True, "ServiceUnavailable")
    assert answer.message.startswith("no endpoints available for service")


def test_head_that_starts(own_cluster: KubeRayCluster) -> None:
    """Until the head listens, the API server says that it can't reach it; its pod is known by then."""
    own_cluster.create(head={"command": ["sleep", "600"]})
    wait_for(
        "the head's pod",
        lambda: own_cluster.head_pod()["status"].get("podIP") or None,
    )

    def refused() -> ApiAnswer | None:
        answer = look(own_cluster.rig, dashboard(own_cluster.name, "/api/version"))
        return answer if "trying to reach service" in answer.message else None

    answer = wait_for("a refusal", refused)

    assert (answer.status, answer.is_status, answer.reason) == (503, True, "ServiceUnavailable")
    assert "connect: connection refused" in answer.message


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        (dashboard("shared", "/api/version"), "services"),
        (f"{PODS}/some-pod:52365/proxy/logs/", "pods"),
    ],
)
def test_missing_rights(cluster: KubeRayCluster, path: str, resource: str) -> None:
    """The refusal names who, which verb, what, and where."""
    answer = look(cluster.rig, path, token=cluster.rig.account_token("default"))

    who = f"system:serviceaccount:{NAMESPACE}:default"
    assert (answer.status, answer.is_status, answer.reason) == (403, True, "Forbidden")
    assert answer.message.endswith(
        f'is forbidden: User "{who}" cannot get resource "{resource}/proxy" '
        f'in API group "" in the namespace "{NAMESPACE}"'
    )


def test_token_that_nobody_knows(cluster: KubeRayCluster) -> None:
    """A wrong Kubernetes token is refused before anything is looked at."""
    answer = look(cluster.rig, dashboard(cluster.name, "/api/version"), token="wrong")

    assert (answer.status, answer.is_status, answer.reason) == (401, True, "Unauthorized")
    assert answer.message == "Unauthorized"


def test_only_authorization_is_stripped(rig: KubernetesRig) -> None:
    """The API server keeps its own token to itself; the header of Ray's token passes."""
    name = f"echo-{uuid.uuid4().hex[:8]}"
    main = {"name": "main", "image": next(iter(rig.images)), "command": ["python", "-c", _ECHO]}
    rig.api.create(PODS, {"metadata": {"name": name}, "spec": {"containers": [main]}})
    path = f"{PODS}/{name}:8000/proxy/some/path?a=b"

    def echoed() -> str | None:
        headers = {"X-Ray-Authorization": "Bearer of-ray", "Range": "bytes=1-2"}
        answer = look(rig, path, **headers)
        return answer.text.lower() if answer.status == 200 else None

    seen = wait_for("an echo", echoed)

    assert seen.startswith("/some/path?a=b")
    assert "x-ray-authorization: bearer of-ray" in seen
    assert "range: bytes=1-2" in seen
    assert "\nauthorization:" not in seen
    rig.api.delete(f"{PODS}/{name}", {"gracePeriodSeconds": 0})
