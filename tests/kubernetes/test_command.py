"""``python -m local_services.kubernetes`` says where it is, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from local_services.kubernetes.cluster_api import ClusterApi
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left(rig: KubernetesRig, number: signal.Signals) -> None:
    """A second rig runs beside the first, and however it ends, it is gone with all its pods."""
    process = subprocess.Popen(
        [sys.executable, "-m", "local_services.kubernetes"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        kubeconfig = Path(facts["kubeconfig"])
        api, pods = api_of(kubeconfig), f"/api/v1/namespaces/{facts['namespace']}/pods"
        main = {"name": "main", "image": NOTHING, "command": ["sleep", "600"]}
        api.create(pods, {"metadata": {"name": "a"}, "spec": {"containers": [main]}})
        wait_for("a pod", lambda: api.get(f"{pods}/a")["status"]["phase"] == "Running" or None)
        bridge = f"ray-rig{api.url.split('.')[2]}"
        assert len(traces(kubeconfig.parents[1], bridge)) > 4
        assert set(facts) == {"kubeconfig", "namespace", "images", "node"}

        os.kill(process.pid, number)
        process.wait(60)

    wait_for("the end", lambda: not traces(kubeconfig.parents[1], bridge) or None, timeout=60)
    assert process.returncode == (0 if number == signal.SIGTERM else -number)
    assert rig.api.get("/api/v1/nodes")["items"]
