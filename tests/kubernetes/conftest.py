"""One Kubernetes for all tests, and one Ray cluster on it for those that need no own."""

from __future__ import annotations

import functools
import json
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from local_services.kubernetes.requirements import missing
from local_services.kubernetes.rig import NAMESPACE, KubernetesRig
from tests.kubernetes.long_watches import (
    Watched,
    follow_through_cuts,
    follow_with_short_tokens,
)
from tests.kubernetes.ray_clusters import NAMESPACE_PATH, USER, KubeRayCluster
from tests.kubernetes.rights import VERBS, Connect, apply_role, documented_role, grant

PLUGIN_ACTIONS = '''
import time


def echo(value):
    print("the action ran")
    return value


def count(lines, seconds):
    """Print numbered lines, spread over so many seconds."""
    for number in range(lines):
        print(f"line {number}", flush=True)
        time.sleep(seconds / lines)
    return lines
'''


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let who has half an hour see more."""
    parser.addoption("--all", action="store_true", help="run the long tests on Kubernetes, too")


def pytest_configure(config: pytest.Config) -> None:
    """Name the long tests."""
    config.addinivalue_line("markers", "long: takes minutes; runs with --all")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests out unless they are asked for, or everything where nothing can run."""
    if lacks := missing():
        skip = pytest.mark.skip(reason=f"no Kubernetes can be started here: {'; '.join(lacks)}")
    elif config.getoption("--all", default=False):
        return
    else:
        skip = pytest.mark.skip(reason="takes minutes; --all runs it")
    for item in items:
        if "tests/kubernetes" in item.path.as_posix() and (
            lacks or item.get_closest_marker("long")
        ):
            item.add_marker(skip)
    # What runs beside the others is waited for last.
    items.sort(key=lambda item: bool(BESIDE.intersection(getattr(item, "fixturenames", ()))))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Call those that passed at the second try what they are."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.write_line(f"flaky: {report.nodeid} failed and was run once more:")
        terminalreporter.write_line(report.longreprtext)


BESIDE = {"log_of_minutes", "watches_with_short_tokens"}
"""Fixtures that start something of minutes, which tests at the very end wait for."""


@pytest.fixture(scope="session", autouse=True)
def started_early(request: pytest.FixtureRequest) -> None:
    """What takes minutes begins first."""
    wanted = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    for name in sorted(BESIDE & wanted):
        request.getfixturevalue(name)


@pytest.fixture(scope="session")
def beside() -> Iterator[ThreadPoolExecutor]:
    """Threads for what runs beside the tests."""
    with ThreadPoolExecutor() as threads:
        yield threads


@pytest.fixture(scope="session")
def log_of_minutes(cluster: KubeRayCluster, beside: ThreadPoolExecutor) -> Future[Watched]:
    """The watch of a log of five minutes, over connections that are cut now and then."""
    return beside.submit(follow_through_cuts, cluster, seconds=300)


@pytest.fixture(scope="session")
def watches_with_short_tokens(
    cluster: KubeRayCluster,
    user: str,
    beside: ThreadPoolExecutor,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Future[Watched]]:
    """Watches of jobs of three minutes with tokens of 30 seconds, by where the tokens come from."""
    start = functools.partial(
        beside.submit, follow_with_short_tokens, cluster, seconds=180, life=30.0
    )
    file = tmp_path_factory.mktemp("token") / "token"
    return {"file": start(file=file), "callable": start(file=None)}


@pytest.fixture(scope="session")
def user(rig: KubernetesRig) -> str:
    """The name of a ServiceAccount that may reach Ray clusters, and nothing else."""
    rig.api.create(f"{NAMESPACE_PATH}/serviceaccounts", {"metadata": {"name": USER}})
    grant(rig, USER, {"services/proxy": VERBS, "pods/proxy": ["get"]})
    return USER


@pytest.fixture(scope="session")
def rig() -> Iterator[KubernetesRig]:
    """A Kubernetes with KubeRay."""
    with KubernetesRig(on_progress=lambda text: print(text, file=sys.stderr)) as rig:
        yield rig


@pytest.fixture(scope="session")
def cluster(rig: KubernetesRig) -> KubeRayCluster:
    """A Ray cluster with one worker that no test harms."""
    return KubeRayCluster(rig, "shared").create(workers=1).wait_until_ready()


@pytest.fixture
def own_cluster(rig: KubernetesRig, request: pytest.FixtureRequest) -> Iterator[KubeRayCluster]:
    """A Ray cluster that a test may do anything with; it has yet to be created."""
    name = request.node.name.removeprefix("test_").replace("_", "-").partition("[")[0]
    cluster = KubeRayCluster(rig, name[:30].strip("-"))
    yield cluster
    cluster.delete()


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A plugin with a few actions."""
    folder = tmp_path / "plugin"
    folder.mkdir()
    (folder / "config.yaml").write_text(
        "name: on-kubernetes\nactions:\n"
        "  echo: {entrypoint: 'actions:echo'}\n  count: {entrypoint: 'actions:count'}\n"
    )
    (folder / "actions.py").write_text(PLUGIN_ACTIONS)
    return folder


@pytest.fixture
def account(rig: KubernetesRig) -> str:
    """A new ServiceAccount without any right."""
    name = f"account-{uuid.uuid4().hex[:8]}"
    rig.api.create(f"{NAMESPACE_PATH}/serviceaccounts", {"metadata": {"name": name}})
    return name


@pytest.fixture
def connect(rig: KubernetesRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Let ``kubernetes_default`` lead to the rig, as a ServiceAccount."""

    def connect(account: str) -> None:
        config = yaml.safe_load(rig.kubeconfig.read_text())
        config["users"][0]["user"]["token"] = rig.account_token(account)
        path = tmp_path / f"{account}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        connection = {
            "conn_type": "kubernetes",
            "extra": {"kube_config_path": str(path), "namespace": NAMESPACE},
        }
        monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))

    return connect


@pytest.fixture
def connected(rig: KubernetesRig, account: str, connect: Connect) -> str:
    """``kubernetes_default`` leads to the rig, with the rights of the documented Role."""
    apply_role(rig, account, documented_role())
    connect(account)
    return account
