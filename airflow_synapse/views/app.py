"""The web app of the tab "Ray job": who may see a page, where its parts come from, and its headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from anyio import to_thread
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from airflow_synapse import __version__
from airflow_synapse.exceptions import AirflowSynapseError
from airflow_synapse.handover.job_metadata import TaskInstanceRef, to_map_index
from airflow_synapse.hooks.connection import RayConnection
from airflow_synapse.rayjobs.models import JobInfo
from airflow_synapse.views import notices
from airflow_synapse.views.job_look import JobLook, look_at_job
from airflow_synapse.views.masked_texts import shown_texts
from airflow_synapse.views.page import Page, page_of_job, page_of_notice
from airflow_synapse.views.task_record import TaskRecord, read_task

_HERE = Path(__file__).parent

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_template = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
).get_template("job.html")
"""It is read here, where no event loop waits for the file."""

_NEEDED = (DagAccessEntity.TASK_INSTANCE, DagAccessEntity.TASK_LOGS)
"""Users may see a page if they may see both of these of its DAG."""

_MAY_SEE = [Depends(requires_access_dag(method="GET", access_entity=entity)) for entity in _NEEDED]


def create_app() -> FastAPI:
    """Return the app that Airflow's API server mounts."""
    app = FastAPI(title="Ray job", docs_url=None, redoc_url=None, openapi_url=None)
    app.get("/tasks/{dag_id}/{run_id:path}/{task_id}", dependencies=_MAY_SEE)(show_task)
    app.mount("/static", StaticFiles(directory=_HERE / "static"))
    return app


async def show_task(
    dag_id: str,
    run_id: str,
    task_id: str,
    request: Request,
    user: GetUserDep,
    map_index: str = "",
) -> HTMLResponse:
    """Answer with the page of a task instance's job.

    :param map_index: Anything but a number means -1. For a task that is not mapped, Airflow's UI sends
        its placeholder.
    """
    task_ref = TaskInstanceRef(dag_id, run_id, task_id, to_map_index(map_index))

    def may_see(dag_id: str) -> bool:
        return dag_id == task_ref.dag_id or _may_see(dag_id, request, user)

    page = await _page(task_ref, may_see)
    return HTMLResponse(_template.render(page=page, version=__version__), headers=_HEADERS)


def _may_see(dag_id: str, request: Request, user: GetUserDep) -> bool:
    """Return whether a user may see tasks and logs of a DAG other than the page's. Blocks."""
    try:
        for entity in _NEEDED:
            requires_access_dag("GET", entity, dag_id)(request, user)
    except HTTPException:
        return False
    return True


async def _page(task_ref: TaskInstanceRef, may_see: Callable[[str], bool]) -> Page:
    task = await to_thread.run_sync(read_task, task_ref)
    if task is None:
        return page_of_notice(notices.NO_TASK)
    notice = notices.notice_of_task(task)
    if notice is not None or task.job_id is None or task.cluster_ref is None:
        return page_of_notice(notice or notices.NO_TASK, task)
    connection = None
    try:
        resolve = partial(task.cluster_ref.resolve_on_api_server, dag_id=task_ref.dag_id)
        connection = await to_thread.run_sync(resolve)
        if connection is None:
            return page_of_notice(notices.no_connection(str(task.cluster_ref)), task)
        look = await look_at_job(connection.cluster, task.job_id)
    except AirflowSynapseError as exc:
        return page_of_notice(notices.notice_of_error(exc), task, connection)
    return await to_thread.run_sync(_page_of_job, task_ref, task, connection, look, may_see)


def _page_of_job(
    task_ref: TaskInstanceRef,
    task: TaskRecord,
    connection: RayConnection,
    look: JobLook,
    may_see: Callable[[str], bool],
) -> Page:
    info = look.info
    if info is None:
        notice = notices.unknown_job(connection.cluster.address)
        return page_of_notice(notice, task, connection)
    if task.submits and not task_ref.metadata().items() <= info.metadata.items():
        return page_of_notice(notices.foreign_job(), task)
    dag_id = info.metadata.get("airflow_dag_id")
    if task.has_job_of_xcom and dag_id is not None and not may_see(dag_id):
        return page_of_notice(notices.foreign_job(), task)
    texts = shown_texts(info, _fields_of_submitter(task, info))
    return page_of_job(look, info, texts=texts, task=task, connection=connection)


def _fields_of_submitter(task: TaskRecord, info: JobInfo) -> Mapping[str, Any]:
    """Return the template fields of the task that submitted a job, empty if this Airflow has none."""
    task_ref = TaskInstanceRef.of_job(info.metadata)
    submitter = task if task.submits or task_ref is None else read_task(task_ref)
    return submitter.fields if submitter is not None else {}
