"""Arguments may come from upstream tasks: the DAG knows the dependency, and hidden ones stay hidden."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, task

try:
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:  # Airflow 3.1
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization

from airflow_synapse.decorators.ray import ray_task
from airflow_synapse.operators.base import RayJobOperator
from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator
from airflow_synapse.operators.ray_job import SubmitRayJobOperator
from tests.operators.task_instance import TaskInstance

FIELDS = RayJobOperator.template_fields

KINDS: list[Any] = [
    (SubmitRayJobOperator, {"entrypoint": "true"}, {"entrypoint": ["true"]}),
    (SubmitPluginActionOperator, {"action_name": "run"}, {"action_name": ["run"]}),
]


@task
def before() -> str:
    return "made before"


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(("kind", "given", "_"), KINDS)
def test_task_waits_for_what_it_is_given(
    kind: Any, given: dict[str, Any], _: Any, field: str
) -> None:
    """Whatever may hold a template may be the output of another task."""
    with DAG("dag", schedule=None):
        operator = kind(task_id="task", **given, **{field: before()})

    assert operator.upstream_task_ids == {"before"}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(("kind", "_", "mapped"), KINDS)
def test_mapped_task_waits_for_what_it_is_given(
    kind: Any, _: Any, mapped: dict[str, Any], field: str
) -> None:
    """Likewise what all instances of a mapped task share."""
    with DAG("dag", schedule=None):
        operator = kind.partial(task_id="task", **{field: before()}).expand(**mapped)

    assert operator.upstream_task_ids == {"before"}
    (name, (value,)) = next(iter(mapped.items()))
    assert operator.unmap({name: value}).task_id == "task"


@pytest.mark.parametrize("field", [*FIELDS, "requirements"])
def test_mapped_function_waits_for_what_it_is_given(field: str) -> None:
    """Likewise a function's task."""

    def work(number: int) -> None: ...

    with DAG("dag", schedule=None):
        operator = ray_task(**{field: before()})(work).expand(number=[1, 2]).operator

    assert operator.upstream_task_ids == {"before"}


def test_custom_resources_of_a_mapped_function() -> None:
    """``resources`` are Ray's and not those of Airflow's own operators, which ``expand`` knows as well."""

    @ray_task(resources={"accelerator": 1})
    def work(number: int) -> None: ...

    with DAG("dag", schedule=None):
        operator = work.expand(number=[1, 2]).operator

    assert operator.partial_kwargs["custom_resources"] == {"accelerator": 1}


def test_custom_resources_as_a_default_of_the_dag() -> None:
    """Their second name is no argument of any other operator, so that a DAG's tasks can share it."""
    with DAG("dag", schedule=None, default_args={"custom_resources": {"accelerator": 1}}):
        before()
        operator = SubmitRayJobOperator(task_id="task", entrypoint="true")

    assert operator.custom_resources == {"accelerator": 1}


def test_resources_have_one_value() -> None:
    """Two answers to one question are refused."""
    with pytest.raises(ValueError, match="Give only one of them"):
        SubmitRayJobOperator(
            task_id="task", entrypoint="true", resources={"a": 1}, custom_resources={"a": 2}
        )


def test_mapped_task_shows_no_hidden_value() -> None:
    """The instances of a mapped task render ``env``, and do not show it."""
    with DAG("dag", schedule=None) as dag:
        mapped = SubmitRayJobOperator.partial(
            task_id="task", env={"KEY": "{{ secret }}"}, job_id="{{ name }}"
        ).expand(entrypoint=["echo {{ name }}"])
    ti = TaskInstance()
    ti.map_index = 0
    run: Any = SimpleNamespace(conf={})
    context: Any = {"ti": ti, "dag": dag, "dag_run": run, "secret": "s3cret", "name": "n"}

    mapped.render_template_fields(context)

    operator = ti.task
    assert (operator.entrypoint, operator.job_id) == ("echo n", "n")
    assert operator.env == {"KEY": "s3cret"}
    assert not {"env", "runtime_env"} & set(operator.template_fields)


def test_value_from_another_task_is_no_template() -> None:
    """What a mapped task gets from others is taken as it is: Airflow names such values by their ids."""
    value = {"KEY": "{{ 6 * 7 }}"}
    operator = SubmitRayJobOperator(task_id="task", entrypoint="true", env=value)
    environment = operator.get_template_env()
    context: Any = {}

    operator._do_render_template_fields(
        operator, operator.template_fields, context, environment, {id(value)}
    )

    assert operator.env == {"KEY": "{{ 6 * 7 }}"}


def test_serialized_dag_holds_no_hidden_value() -> None:
    """What the DAG processor stores of a task is without the values of its ``env``."""
    with DAG("dag", schedule=None) as dag:
        SubmitRayJobOperator(task_id="task", entrypoint="true", env={"KEY": "planted"})

    assert "planted" not in str(DagSerialization.to_dict(dag))
