"""What the rig's node decides, without a Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from local_services.kubernetes.images import check_image
from local_services.kubernetes.kubelet import environment, pod_status
from local_services.kubernetes.kubelet.container import Container

NODE_ADDRESS = "10.244.7.1"


def pod(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "a-pod",
            "namespace": "ray",
            "uid": "1234",
            "labels": {"ray.io/group": "headgroup"},
        },
        "spec": {"nodeName": "rig-node", **spec},
    }


def container(*, is_init: bool = False, exit_code: int | None = None) -> Container:
    made = Container({"name": "c", "image": "i"}, is_init=is_init, log_folder=Path("/nowhere"))
    if exit_code is not None:
        made.state = {"terminated": {"exitCode": exit_code}}
    return made


def running() -> Container:
    made = container()
    made.state = {"running": {"startedAt": "now"}}
    made.is_ready = True
    return made


def status_of(
    seen: dict[str, Any], inits: list[Container], containers: list[Container]
) -> dict[str, Any]:
    return pod_status.status(
        seen,
        inits,
        containers,
        address="10.244.7.10",
        node_address=NODE_ADDRESS,
        born="2026-01-01T00:00:00Z",
    )


@pytest.mark.parametrize(
    ("policy", "codes", "expected"),
    [
        ("Always", [0, 0], "Running"),
        ("OnFailure", [0, 1], "Running"),
        ("OnFailure", [0, 0], "Succeeded"),
        ("Never", [0, 1], "Failed"),
        ("Never", [0, None], "Pending"),
    ],
)
def test_phase_follows_the_restart_policy(
    policy: str, codes: list[int | None], expected: str
) -> None:
    """A pod has ended when its containers have and none is started again."""
    containers = [container(exit_code=code) for code in codes]
    if expected == "Pending":
        containers = [container(), container()]

    assert pod_status.phase(pod(restartPolicy=policy), [], containers) == expected


def test_pod_waits_for_its_init_containers() -> None:
    """A pod is Pending and says which init container is not done."""
    told = status_of(pod(), [container(is_init=True)], [container()])
    initialized = next(c for c in told["conditions"] if c["type"] == "Initialized")

    assert told["phase"] == "Pending"
    assert initialized["status"] == "False"
    assert initialized["message"] == "containers with incomplete status: [c]"


def test_conditions_of_the_scheduler_stay() -> None:
    """The kubelet writes its own conditions beside those of others, and keeps their times."""
    seen = pod()
    seen["status"] = {
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "then"},
            {"type": "Ready", "status": "True", "lastTransitionTime": "long ago"},
        ]
    }

    conditions = {c["type"]: c for c in status_of(seen, [], [running()])["conditions"]}

    assert conditions["PodScheduled"]["lastTransitionTime"] == "then"
    assert conditions["Ready"]["status"] == "True"
    assert conditions["Ready"]["lastTransitionTime"] == "long ago"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(NAME)-$(OTHER)", "value-$(OTHER)"),
        ("$$(NAME)", "$(NAME)"),
        ("$NAME ${NAME}", "$NAME ${NAME}"),
    ],
)
def test_only_known_variables_are_expanded(text: str, expected: str) -> None:
    """``$(NAME)`` is replaced where it is known, and nothing else is."""
    assert environment.expand(text, {"NAME": "value"}) == expected


def test_fields_of_the_pod_are_found() -> None:
    """A ``fieldRef`` reaches names, labels and the addresses that only the node knows."""
    paths = ("metadata.name", "metadata.labels['ray.io/group']", "status.podIP", "status.hostIP")

    found = [
        environment.field(pod(), path, address="10.244.7.10", node_address=NODE_ADDRESS)
        for path in paths
    ]

    assert found == ["a-pod", "headgroup", "10.244.7.10", NODE_ADDRESS]


@pytest.mark.parametrize(
    ("quantity", "divisor", "expected"),
    [("1500m", "0", "2"), ("2Gi", "1Mi", "2048"), ("2", "1m", "2000")],
)
def test_resources_are_rounded_up(quantity: str, divisor: str, expected: str) -> None:
    """A ``resourceFieldRef`` counts in its divisor."""
    spec = {"resources": {"limits": {"cpu": quantity}}}

    counted = environment.resource(spec, {"resource": "limits.cpu", "divisor": divisor})

    assert counted == expected


@pytest.mark.parametrize(
    ("image", "reason", "words"),
    [
        ("rayproject/ray:0.0", "ErrImagePull", "docker.io/rayproject/ray:0.0: not found"),
        ("nothing", "ErrImagePull", "docker.io/library/nothing:latest: not found"),
        ("localhost:5000/a:1", "ErrImagePull", '"localhost:5000/a:1": not found'),
        ("rayproject/Ray:0.0", "InvalidImageName", "must be lowercase"),
        ("a b", "InvalidImageName", "invalid reference format"),
    ],
)
def test_missing_images_fail_in_the_words_of_a_kubelet(image: str, reason: str, words: str) -> None:
    """Only images of this machine can be pulled."""
    found = check_image(image, {"busybox": ""})

    assert found is not None
    assert found[0] == reason
    assert words.replace('"', "") in found[1].replace('"', "")
    assert check_image("busybox", {"busybox": ""}) is None
