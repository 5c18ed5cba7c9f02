"""The rig behaves as a Kubernetes does: what other tests rely on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local_services.kubernetes.cluster_api import ClusterApiError
from local_services.kubernetes.images import NOTHING
from local_services.kubernetes.rig import NAMESPACE, KubernetesRig
from tests.kubernetes.ray_clusters import PODS, wait_for

pytestmark = pytest.mark.timeout(600)

Start = Callable[..., str]


@pytest.fixture
def start(rig: KubernetesRig, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Start a pod whose one container runs a shell script, and return its path in the API."""
    paths = []

    def start(script: str = "sleep 600", *, image: str = NOTHING, **spec: Any) -> str:
        name = f"pod-{len(paths)}-{abs(hash(request.node.name)) % 10**8}"
        main = {"name": "main", "image": image, "command": ["sh", "-c", script]}
        main |= spec.pop("container", {})
        spec = {"restartPolicy": "Never", "containers": [main], **spec}
        rig.api.create(PODS, {"metadata": {"name": name}, "spec": spec})
        paths.append(f"{PODS}/{name}")
        return paths[-1]

    yield start
    for path in paths:
        if rig.api.find(path):
            rig.api.delete(path, {"gracePeriodSeconds": 0})


def status(rig: KubernetesRig, path: str) -> dict[str, Any]:
    return dict(rig.api.get(path)["status"])


def container(rig: KubernetesRig, path: str) -> dict[str, Any]:
    """Return the status of a pod's container; empty before the kubelet has written one."""
    return next(iter(status(rig, path).get("containerStatuses") or []), {})


def ended(rig: KubernetesRig, path: str) -> str:
    """Wait for the end of a pod, and return what it printed."""
    wait_for("the end", lambda: status(rig, path)["phase"] in ("Succeeded", "Failed"))
    return log(rig, path)


def log(rig: KubernetesRig, path: str, query: str = "") -> str:
    return rig.api.read("GET", f"{path}/log?{query}").decode()


def waiting(rig: KubernetesRig, path: str, reason: str) -> dict[str, Any]:
    """Wait until the container waits for this reason."""

    def look() -> dict[str, Any] | None:
        found = container(rig, path).get("state", {}).get("waiting", {})
        return dict(found) if found.get("reason") == reason else None

    return wait_for(reason, look)


def events(rig: KubernetesRig, path: str) -> list[tuple[str, str]]:
    name = path.rpartition("/")[2]
    found = rig.api.get(
        f"/api/v1/namespaces/{NAMESPACE}/events?fieldSelector=involvedObject.name={name}"
    )
    return [(event["reason"], event["message"]) for event in found["items"]]


def test_pod_sees_its_own_world(rig: KubernetesRig, start: Start) -> None:
    """A pod has its own hostname, PIDs and address, and knows the API server's."""
    path = start("hostname; echo pid $$; hostname -I; echo $KUBERNETES_SERVICE_HOST")
    name = path.rpartition("/")[2]

    assert ended(rig, path).split() == [
        *(name, "pid", "1"),
        *(status(rig, path)["podIP"], rig.network.gateway),
    ]


def test_environment_is_what_the_pod_asks_for(rig: KubernetesRig, start: Start) -> None:
    """Secrets, fields and earlier variables become environment variables."""
    secrets = f"/api/v1/namespaces/{NAMESPACE}/secrets"
    secret = {"metadata": {"generateName": "of-a-test-"}, "stringData": {"key": "hidden"}}
    name = rig.api.create(secrets, secret)["metadata"]["name"]
    env = [
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": name, "key": "key"}}},
        {"name": "WHERE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "BOTH", "value": "$(SECRET)-$(WHERE)"},
    ]

    path = start("echo $BOTH", container={"env": env})

    assert ended(rig, path) == f"hidden-{NAMESPACE}\n"


def test_missing_secret_is_a_config_error(rig: KubernetesRig, start: Start) -> None:
    """A container whose Secret is not there waits and says which."""
    source = {"secretKeyRef": {"name": "not-there", "key": "key"}}
    path = start(container={"env": [{"name": "SECRET", "valueFrom": source}]})

    why = waiting(rig, path, "CreateContainerConfigError")

    assert why["message"] == 'secret "not-there" not found'


def test_pod_has_a_token_of_its_service_account(rig: KubernetesRig, start: Start) -> None:
    """The projected token is good for the API server, and its CA certificate is beside it."""
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    path = start(f"cat {folder}/token; echo; cat {folder}/namespace; head -1 {folder}/ca.crt")

    token, *others = ended(rig, path).splitlines()

    assert others == [f"{NAMESPACE}-----BEGIN CERTIFICATE-----"]
    with pytest.raises(ClusterApiError, match=f"system:serviceaccount:{NAMESPACE}:default"):
        rig.api_as(token).get("/api/v1/nodes")


def test_image_that_is_not_there(rig: KubernetesRig, start: Start) -> None:
    """The status and the events of a missing image are a kubelet's."""
    path = start(image="rayproject/ray:0.0.0")

    why = waiting(rig, path, "ImagePullBackOff")

    assert why["message"].startswith('Back-off pulling image "rayproject/ray:0.0.0": ErrImagePull')
    assert why["message"].endswith("docker.io/rayproject/ray:0.0.0: not found")
    assert ("Failed", "Error: ErrImagePull") in events(rig, path)
    assert status(rig, path)["phase"] == "Pending"


def test_container_that_fails_again_is_backed_off(rig: KubernetesRig, start: Start) -> None:
    """A crashing container restarts with pauses; the log of the one before can be read."""
    path = start("echo it broke; exit 3", restartPolicy="Always")

    waiting(rig, path, "CrashLoopBackOff")

    assert container(rig, path)["restartCount"] == 1
    assert container(rig, path)["lastState"]["terminated"]["exitCode"] == 3
    assert log(rig, path, "previous=true") == "it broke\n"


def test_init_containers_run_first(rig: KubernetesRig, start: Start) -> None:
    """Init containers run one after the other and share folders with the others."""
    mount = {"volumeMounts": [{"name": "shared", "mountPath": "/tmp/ray/shared"}]}
    inits = [
        {"name": name, "image": NOTHING, "command": ["sh", "-c", script], **mount}
        for name, script in (
            ("first", "echo one > /tmp/ray/shared/file"),
            ("second", "echo two >> /tmp/ray/shared/file"),
        )
    ]
    path = start(
        "cat /tmp/ray/shared/file",
        initContainers=inits,
        container=mount,
        volumes=[{"name": "shared", "emptyDir": {}}],
    )

    assert ended(rig, path) == "one\ntwo\n"


def test_readiness_is_probed(rig: KubernetesRig, start: Start) -> None:
    """A container is ready once its exec probe passes, and says why before."""
    probe = {"exec": {"command": ["test", "-e", "/tmp/ray/ready"]}, "periodSeconds": 1}
    script = "sleep 3; touch /tmp/ray/ready; sleep 600"
    path = start(script, container={"readinessProbe": probe})

    wait_for("a failed probe", lambda: "Unhealthy" in dict(events(rig, path)))
    wait_for("it to be ready", lambda: container(rig, path)["ready"])


def test_failed_liveness_restarts_the_container(rig: KubernetesRig, start: Start) -> None:
    """A container that does not live, as its probe says, is killed and started again."""
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    path = start(restartPolicy="Always", container={"livenessProbe": probe})

    wait_for("a restart", lambda: container(rig, path).get("restartCount"))

    assert ("Killing", "Container main failed liveness probe, will be restarted") in events(
        rig, path
    )


def test_deleted_pod_gets_its_grace(rig: KubernetesRig, start: Start) -> None:
    """A pod that is deleted is asked to end, and is gone when it has."""
    path = start("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done")
    wait_for("it to run", lambda: "up" in (log(rig, path) if _has_log(rig, path) else ""))

    rig.api.delete(path)

    wait_for("its end", lambda: rig.api.find(path) is None)
    assert ("Killing", "Stopping container main") in events(rig, path)


def test_pod_that_fits_nowhere_is_not_scheduled(rig: KubernetesRig, start: Start) -> None:
    """The scheduler says what a pod lacks."""
    path = start(container={"resources": {"requests": {"cpu": "500"}}})

    def why() -> str:
        conditions = status(rig, path).get("conditions") or []
        return next((c.get("message", "") for c in conditions if c["status"] == "False"), "")

    assert "Insufficient cpu" in wait_for("a reason", why)


def test_short_token_ends(rig: KubernetesRig) -> None:
    """A token of a few seconds is refused after them, and after the API server has forgotten it."""
    token = rig.account_token("default", life=1)
    api = rig.api_as(token)

    def refusal() -> int:
        try:
            api.get("/api/v1/nodes")
        except ClusterApiError as exc:
            return exc.status if exc.status == 401 else 0
        return 0

    with pytest.raises(ClusterApiError, match="forbidden"):
        api.get("/api/v1/nodes")
    assert wait_for("the end of the token", refusal, timeout=60) == 401


def _has_log(rig: KubernetesRig, path: str) -> bool:
    return status(rig, path)["phase"] == "Running"
