"""The options of ``[ray]`` in Airflow's configuration, and where figures go."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_synapse import settings
from airflow_synapse.get_provider_info import OPTIONS, get_provider_info
from airflow_synapse.hooks.metrics import AirflowMetrics
from airflow_synapse.rayjobs.watching.cluster_watch import WatchLimits
from airflow_synapse.version_compat import stats

OF_THE_VIEW = {"job_view"}
"""Read by the UI plugin, which must not import anything."""

NUMBERS = sorted(OPTIONS.keys() - OF_THE_VIEW - {"deployment"})


def test_defaults_are_those_of_the_watch() -> None:
    """What Airflow documents as the default is what is used without Airflow, too."""
    limits = WatchLimits(settings.requests_per_second(), settings.log_streams())

    assert limits == WatchLimits()
    assert settings.log_lines_per_second() == 0.0


def test_environment_overrides_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are set as every option of Airflow is."""
    monkeypatch.setenv("AIRFLOW__RAY__REQUESTS_PER_SECOND", "12.5")
    monkeypatch.setenv("AIRFLOW__RAY__LOG_STREAMS", "3")
    monkeypatch.setenv("AIRFLOW__RAY__LOG_LINES_PER_SECOND", "100")

    assert settings.requests_per_second() == 12.5
    assert settings.log_streams() == 3
    assert settings.log_lines_per_second() == 100.0
    assert settings.log_lines_per_second(7.0) == 7.0


@pytest.mark.parametrize(
    ("name", "base_url", "told"),
    [
        ("", "", ""),
        ("", "http://localhost:8080", ""),
        ("", "http://127.0.0.1:8080/prefix", ""),
        ("", "https://airflow.example.com", "https://airflow.example.com"),
        ("prod", "https://airflow.example.com", "prod"),
        ("prod", "", "prod"),
    ],
)
def test_airflow_is_known_by_its_name_or_its_address(
    monkeypatch: pytest.MonkeyPatch, name: str, base_url: str, told: str
) -> None:
    """An address that every machine has tells nothing."""
    monkeypatch.setenv("AIRFLOW__RAY__DEPLOYMENT", name)
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)

    assert settings.deployment() == told


@pytest.mark.parametrize("option", NUMBERS)
@pytest.mark.parametrize("value", ["-1", "many", "nan", "inf", ""])
def test_nonsense_is_refused(monkeypatch: pytest.MonkeyPatch, option: str, value: str) -> None:
    """A value that makes no sense is an error that names the option and its default."""
    monkeypatch.setenv(f"AIRFLOW__RAY__{option.upper()}", value)

    with pytest.raises(ValueError, match=rf"\[ray\] {option} .* default is"):
        getattr(settings, option)()


def test_provider_documents_all_options() -> None:
    """Each option is read by a function of its name, and listed in the provider info."""
    options = get_provider_info()["config"]["ray"]["options"]

    read = {name for name in options if hasattr(settings, name)}
    assert options.keys() - read == OF_THE_VIEW


class Recorder:
    """What Airflow would send to StatsD."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []

    def incr(self, stat: str, count: int = 1, rate: float = 1, **_: Any) -> None:
        self.sent.append(("incr", stat, count))

    def gauge(self, stat: str, value: float, rate: float = 1, **_: Any) -> None:
        self.sent.append(("gauge", stat, value))

    def timing(self, stat: str, dt: Any, **_: Any) -> None:
        self.sent.append(("timing", stat, dt))


def test_figures_go_where_airflow_s_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters, gauges and timers reach the backend that Airflow was told to use."""
    recorder = Recorder()
    for name in ("incr", "gauge", "timing"):
        monkeypatch.setattr(stats(), name, getattr(recorder, name), raising=False)
    metrics = AirflowMetrics()

    metrics.count("ray.requests", 3)
    metrics.gauge("ray.jobs_watched", 7)
    metrics.timing("ray.end_delay", 1.5)

    assert recorder.sent[-3:] == [
        ("incr", "ray.requests", 3),
        ("gauge", "ray.jobs_watched", 7),
        ("timing", "ray.end_delay", timedelta(seconds=1.5)),
    ]


def test_figure_that_is_lost_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that fails does not end a watch."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("the metrics server's name can't be resolved")

    for name in ("incr", "gauge", "timing"):
        monkeypatch.setattr(stats(), name, fail, raising=False)
    metrics = AirflowMetrics()

    assert metrics.count("a") is metrics.gauge("b", 1) is metrics.timing("c", 1.0) is None
