"""``python -m local_services.kubernetes`` says where it is, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from local_services.kubernetes.cluster_api import ClusterApi, ClusterApiError
from local_services.kubernetes.images import NOTHING
from local_services.kubernetes.rig import KubernetesRig
from tests.kubernetes.ray_clusters import wait_for

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]


def api_of(kubeconfig: Path) -> ClusterApi:
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    return ClusterApi(cluster["server"], user["token"], Path(cluster["certificate-authority"]))


def traces(folder: Path, bridge: str) -> list[str]:
    """What is left of a rig on this machine."""
    links = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
    spaces = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    places = [folder, *Path("/etc/netns").glob(f"{bridge}-*")]
    return [
        *(line for line in links.splitlines() if f"{bridge}:" in line),
        *(line for line in spaces.splitlines() if line.startswith(f"{bridge}-")),
        *(str(path) for path in places if path.exists()),
        *(str(p.pid) for p in psutil.process_iter(["cmdline"]) if _is_of(p, folder)),
    ]


def _is_of(process: psutil.Process, folder: Path) -> bool:
    return any(str(folder) in word for word in process.info["cmdline"] or [])


class Started:
    """A rig of its own process, with one pod on it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        self.facts = json.loads(process.stdout.readline())
        kubeconfig = Path(self.facts["kubeconfig"])
        self.folder = kubeconfig.parents[1]
        self.api = api_of(kubeconfig)
        self.bridge = f"ray-rig{self.api.url.split('.')[2]}"
        pods = f"/api/v1/namespaces/{self.facts['namespace']}/pods"
        main = {"name": "main", "image": NOTHING, "command": ["sleep", "600"]}
        self.api.create(pods, {"metadata": {"name": "a"}, "spec": {"containers": [main]}})
        self.pod = f"{pods}/a"
        self.wait_for_pod()

    def wait_for_pod(self, *, not_since: str = "") -> str:
        """Return since when its container runs, once that is another moment than ``not_since``."""

        def since() -> str | None:
            try:
                status = self.api.get(self.pod)["status"]
            except OSError:  # the API server is being started again
                return None
            found = status["containerStatuses"][0] if "containerStatuses" in status else {}
            moment = found.get("state", {}).get("running", {}).get("startedAt")
            return moment if moment != not_since else None

        return wait_for("the pod to run", since)

    def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code, once nothing is left."""
        assert len(traces(self.folder, self.bridge)) > 4
        os.kill(self.process.pid, number)
        code = self.process.wait(60)
        wait_for("the end", lambda: not traces(self.folder, self.bridge), timeout=60)
        return code

    def kill(self, words: str) -> None:
        """Kill the one of its programs whose command has these words."""
        (found,) = [
            p
            for p in psutil.process_iter(["cmdline"])
            if _is_of(p, self.folder) and f"{words} " in " ".join(p.info["cmdline"])
        ]
        found.kill()


@pytest.fixture
def started() -> Iterator[Started]:
    """``python -m local_services.kubernetes``, ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "local_services.kubernetes"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield Started(process)
        process.terminate()


def test_nothing_is_left_after_a_kill(rig: KubernetesRig, started: Started) -> None:
    """A second rig runs beside the first; when its process is killed, it is gone with all its pods."""
    assert set(started.facts) == {"kubeconfig", "namespace", "images", "node"}

    assert started.end(signal.SIGKILL) == -signal.SIGKILL
    assert rig.api.get("/api/v1/nodes")["items"]


def test_programs_that_die_are_started_again(started: Started) -> None:
    """The API server and the node come back after a kill, and SIGTERM ends all of it at last."""
    before = started.wait_for_pod()

    started.kill("kube-apiserver")
    wait_for("a refusal", lambda: not _answers(started.api))
    wait_for("the API server", lambda: _answers(started.api))
    started.kill("local_services.kubernetes.kubelet")
    started.wait_for_pod(not_since=before)

    assert started.end(signal.SIGTERM) == 0


def _answers(api: ClusterApi) -> bool:
    try:
        return bool(api.get("/version"))
    except (OSError, ClusterApiError):
        return False
