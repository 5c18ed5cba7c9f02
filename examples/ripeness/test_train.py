from pathlib import Path

from ripeness.train import run

from airflow_synapse.testing import JobContext, run_action


def test_action_separates_the_fruit():
    trained = run_action(Path(__file__).parent, "train", {"epochs": 20})

    assert 11.0 <= trained.result["threshold"] < 13.0
    assert trained.report.metrics["loss"][-1] == (20, 0)
    assert trained.artifacts["threshold.txt"].endswith("°Bx\n".encode())


def test_each_epoch_is_reported():
    job = JobContext()

    run(epochs=3, job=job)

    assert [step for step, _ in job.report.metrics["loss"]] == [1, 2, 3]
    assert job.report.progress[""].done == 3
