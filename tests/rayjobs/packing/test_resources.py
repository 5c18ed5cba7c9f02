"""The resources that an entrypoint reserves."""

from __future__ import annotations

import math
import re

import pytest

from airflow_synapse.exceptions import RayJobSubmissionError
from airflow_synapse.rayjobs.packing.resources import Resources


def test_resources_get_ray_s_names() -> None:
    """What is not given is not sent; 0 is something that is given."""
    resources = Resources(num_cpus=0, memory=2.0, resources={"a": 1}, label_selector={"zone": "x"})

    assert resources.to_request({"entrypoint_num_gpus": 0.5}) == {
        "entrypoint_num_cpus": 0,
        "entrypoint_num_gpus": 0.5,
        "entrypoint_memory": 2,
        "entrypoint_resources": {"a": 1},
        "entrypoint_label_selector": {"zone": "x"},
    }
    assert Resources().to_request({"entrypoint_num_cpus": None}) == {}


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        (Resources(num_cpus=-1), "num_cpus is -1, but it must be 0 or more"),
        (Resources(num_gpus=-0.5), "num_gpus is -0.5, but it must be 0 or more"),
        (Resources(memory=-1), "memory is -1, but it must be 0 or more"),
        (Resources(num_cpus=math.nan), "must be 0 or more"),
        (Resources(num_cpus=math.inf), "must be 0 or more"),
        (Resources(num_cpus="2"), "num_cpus is '2', but it must be a number"),
        (Resources(num_cpus=True), "must be a number"),
        (Resources(memory=1.5), "must be a whole number of bytes"),
        (Resources(resources={"a": -1}), "resources['a'] is -1"),
        (Resources(resources=["a"]), "must be a mapping with strings as keys"),
        (Resources(resources={1: 1}), "must be a mapping with strings as keys"),
        (Resources(label_selector={"zone": 1}), "label_selector['zone'] is 1"),
        (Resources(label_selector="zone"), "must be a mapping with strings as keys"),
    ],
)
def test_amounts_that_can_not_be_are_refused(resources: Resources, told: str) -> None:
    """The error names the argument, its value and the rule."""
    with pytest.raises(RayJobSubmissionError, match=re.escape(told)):
        resources.to_request({})


@pytest.mark.parametrize("name", ["num_cpus", "num_gpus", "memory"])
def test_amount_given_twice_is_refused(name: str) -> None:
    """Both ways of asking for the same are never merged silently."""
    with pytest.raises(
        RayJobSubmissionError, match=f"both {name} and entrypoint_{name} were given"
    ):
        Resources(**{name: 1}).to_request({f"entrypoint_{name}": 1})
