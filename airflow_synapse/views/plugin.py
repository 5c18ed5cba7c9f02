"""The plugin that adds the tab "Ray job" to Airflow's UI.

Airflow imports it in every process, including workers and DAG processors. So it loads nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from typing import Any

from airflow import __version__ as airflow_version
from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

_URL_PREFIX = "/ray-job"

_Message = MutableMapping[str, Any]
_App = Callable[
    [_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]],
    Awaitable[None],
]


class RayViewApp:
    """The web app of the view, imported when somebody first opens a page."""

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        """Answer a request."""
        import asyncio

        app = await asyncio.to_thread(_load_app)
        await app(scope, receive, send)


@cache
def _load_app() -> _App:
    from airflow_synapse.views.app import create_app

    return create_app()


class RayViewPlugin(AirflowPlugin):
    """Adds a tab to each task instance, and the app that serves it."""

    name = "ray_job_view"
    fastapi_apps = [  # noqa: RUF012  # as Airflow declares it
        {"app": RayViewApp(), "url_prefix": _URL_PREFIX, "name": "Ray job"}
    ]
    external_views = [  # noqa: RUF012
        {
            "name": "Ray job",
            # Without a leading slash it is relative to the UI's base URL. The ids are in the path because
            # Airflow 3.1 does not escape them: in a query, the + of a run id would become a space.
            "href": f"{_URL_PREFIX[1:]}/tasks/{{DAG_ID}}/{{RUN_ID}}/{{TASK_ID}}?map_index={{MAP_INDEX}}",
            "destination": "task_instance",
            "url_route": "ray_job",
        }
    ]

    @classmethod
    def on_load(cls, *_: Any, **__: Any) -> None:
        """Remove the tab and the app if ``[ray] job_view`` is off, and on Airflow 3.1.0.

        Airflow 3.1.0 does not read cookies, so a page in a frame can't tell who opened it.
        """
        if airflow_version == "3.1.0" or not conf.getboolean("ray", "job_view", fallback=True):
            cls.fastapi_apps = []
            cls.external_views = []
