"""What Airflow's configuration says: the section ``[ray]``, and where this Airflow is."""

from __future__ import annotations

from urllib.parse import urlsplit

from airflow_synapse.get_provider_info import OPTIONS
from airflow_synapse.version_compat import conf

SECTION = "ray"


_ANYBODY_S_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0", "::1")  # noqa: S104  # nothing is bound


def deployment() -> str:
    """Return what tells this Airflow from others that use the same cluster, empty if nothing does.

    That is its name, or else its base URL, which has no default since Airflow 3, and tells nothing where
    it is on the machine itself.
    """
    name = str(conf.get(SECTION, "deployment", fallback="") or "")
    base_url = str(conf.get("api", "base_url", fallback="") or "")
    return name or ("" if urlsplit(base_url).hostname in _ANYBODY_S_HOSTS else base_url)


def requests_per_second() -> float:
    """Return how many requests a second all watched jobs of one cluster may cost it."""
    return _number("requests_per_second", above=0.0)


def log_streams() -> int:
    """Return how many logs of one cluster are read at the same time."""
    return int(_number("log_streams", above=0.999))


def log_lines_per_second(given: float | None = None) -> float:
    """Return how many lines of a log are shown per second, 0 for all.

    :param given: What a task says; None leaves it to the configuration.
    """
    if given is not None:
        return given
    return _number("log_lines_per_second", above=-0.001)


def _number(option: str, *, above: float) -> float:
    """Return an option as a number.

    :raises ValueError: if it is none that makes sense.
    """
    text = conf.get(SECTION, option, fallback=OPTIONS[option]["default"])
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not above < number < float("inf"):
        raise ValueError(
            f"[{SECTION}] {option} in Airflow's configuration is {text!r}, which is no number that "
            f"makes sense; its default is {OPTIONS[option]['default']}"
        )
    return number
