"""Tries settings in Ray tasks. Each task reports through the job of the action that started it."""

import logging

import ray

log = logging.getLogger(__name__)


@ray.remote(num_cpus=0.1)
def try_rate(job, rate):
    error = 1.0
    for step in range(5):
        error *= 1 - rate
        job.metrics({f"error at {rate}": error}, step=step)
    return error


def run(rates, job):
    log.info("trying %d rates", len(rates))
    errors = ray.get([try_rate.remote(job, rate) for rate in rates])
    best = rates[errors.index(min(errors))]
    job.log(f"rate {best} is the best", level="info")
    return {"best": best}
