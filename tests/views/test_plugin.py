"""The plugin as Airflow loads it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from airflow import __version__ as airflow_version
from airflow.plugins_manager import AirflowPlugin
from starlette.applications import Starlette
from starlette.testclient import TestClient

from airflow_synapse.views import plugin as plugin_module
from airflow_synapse.views.plugin import RayViewPlugin

HAS_VIEW = pytest.mark.skipif(
    airflow_version == "3.1.0", reason="Airflow has loaded the plugin, which took its view away"
)

_SCRIPT = """
import json, sys
import airflow.plugins_manager
before = set(sys.modules)
import airflow_synapse.views.plugin
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_entry_point_leads_here() -> None:
    """Airflow finds the plugin by its entry point, once."""
    entries = [e for e in entry_points(group="airflow.plugins") if "synapse" in e.value]

    assert [entry.load() for entry in entries] == [RayViewPlugin]
    assert issubclass(RayViewPlugin, AirflowPlugin)


def test_plugin_costs_nothing() -> None:
    """Every Airflow process imports the plugin, and with it nothing but its own module."""
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, check=True)

    loaded = json.loads(done.stdout.splitlines()[-1])
    assert set(loaded) <= {
        "airflow_synapse",
        "airflow_synapse.views",
        "airflow_synapse.views.plugin",
    }


@HAS_VIEW
def test_view_leads_to_the_app() -> None:
    """The tab's address is below the prefix at which Airflow mounts the app."""
    (view,) = RayViewPlugin.external_views
    (app,) = RayViewPlugin.fastapi_apps
    api_server = Starlette()
    api_server.mount(app["url_prefix"], app["app"])

    with TestClient(api_server) as client:
        page = client.get("/" + view["href"].format(DAG_ID=1, RUN_ID=2, TASK_ID=3, MAP_INDEX=4))
        script = client.get(app["url_prefix"] + "/static/view.js")

    assert page.status_code == 401
    assert script.status_code == 200
    assert view["destination"] == "task_instance"


def test_airflow_that_reads_no_cookie_has_no_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Airflow 3.1.0 the tab would show everybody that they are not logged in."""
    monkeypatch.setattr(plugin_module, "airflow_version", "3.1.0")
    plugin = type("Off", (RayViewPlugin,), {})

    plugin.on_load()

    assert (plugin.fastapi_apps, plugin.external_views) == ([], [])


@HAS_VIEW
@pytest.mark.parametrize("off", ["False", "0"])
def test_view_can_be_switched_off(off: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``[ray] job_view = False`` there is neither tab nor app."""
    monkeypatch.setenv("AIRFLOW__RAY__JOB_VIEW", off)
    plugin = type("Off", (RayViewPlugin,), {})

    plugin.on_load()

    assert (plugin.fastapi_apps, plugin.external_views) == ([], [])
    assert RayViewPlugin.external_views
