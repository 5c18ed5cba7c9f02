"""Reads Airflow's configuration: the section ``[ray]`` and the name of this Airflow."""

from __future__ import annotations

from urllib.parse import urlsplit

from airflow_synapse.get_provider_info import OPTIONS
from airflow_synapse.version_compat import conf

SECTION = "ray"


_ANYBODY_S_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0", "::1")  # noqa: S104  # nothing is bound


def deployment() -> str:
    """Return what distinguishes this Airflow from others on the same cluster, "" if nothing does.

    That is its name, or else its base URL. The base URL has no default since Airflow 3, and a local
    address does not count because every machine has it.
    """
    name = str(conf.get(SECTION, "deployment", fallback="") or "")
    base_url = str(conf.get("api", "base_url", fallback="") or "")
    return name or ("" if urlsplit(base_url).hostname in _ANYBODY_S_HOSTS else base_url)


def requests_per_second() -> float:
    """Return how many requests per second all watched jobs of one cluster may cause."""
    return _number("requests_per_second", above=0.0, allowed="above 0")


def log_streams() -> int:
    """Return how many logs of one cluster may be read at the same time."""
    return int(_number("log_streams", above=0.999, allowed="of at least 1"))


def collect_interval() -> float:
    """Return the seconds between two looks for jobs that nobody wants any more."""
    return _number("collect_interval", above=0.0, allowed="above 0")


def collect_gone_after() -> float:
    """Return the seconds for which a task must be gone before its job is stopped."""
    return _number("collect_gone_after", above=0.0, allowed="above 0")


def log_lines_per_second(given: float | None = None) -> float:
    """Return how many lines of a log are shown per second, 0 for all.

    :param given: The limit that a task sets. None means the configured limit.
    :raises ValueError: if it is not a number of at least 0.
    """
    if given is not None:
        is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
        if not is_number or not 0 <= given < float("inf"):
            raise ValueError(
                f"log_lines_per_second is {given!r}, but must be a number of at least 0."
            )
        return given
    return _number("log_lines_per_second", above=-0.001, allowed="of at least 0")


def _number(option: str, *, above: float, allowed: str) -> float:
    """Return an option as a number.

    :param allowed: The limit in words, for the error message.
    :raises ValueError: if it is not a finite number above the limit.
    """
    text = conf.get(SECTION, option, fallback=OPTIONS[option]["default"])
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not above < number < float("inf"):
        raise ValueError(
            f"[{SECTION}] {option} in Airflow's configuration is {text!r}, but must be a number {allowed}. "
            f"The default is {OPTIONS[option]['default']}."
        )
    return number
