"""Run all benchmarks, or those that are named, and print their figures as Markdown."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from benchmarks.environments import ASTRO, OURS, astro_python
from benchmarks.heads import watch_heads
from benchmarks.imports import import_modules
from benchmarks.logs import follow_live_log, read_long_log, split_a_line_s_way
from benchmarks.tables import Table
from benchmarks.watching import calibrate, watch_played, watch_real
from benchmarks.whole_task import run_echo
from local_services.ray_head import RayHead

_BEGIN, _END = "<!-- figures -->", "<!-- end of figures -->"
_README = Path(__file__).with_name("README.md")


def main() -> None:
    arguments = _arguments()
    pythons = {"ours": OURS, "astro": astro_python(arguments.environments / "astro"), "bare": OURS}
    tables: list[Table] = []
    with RayHead(num_cpus=8) as head:
        sections: dict[str, Callable[[], list[Table]]] = {
            "imports": lambda: [import_modules(pythons["astro"])],
            "logs": lambda: [read_long_log(head), follow_live_log(head), split_a_line_s_way()],
            "real": lambda: [watch_real(pythons, head)],
            "task": lambda: [run_echo(pythons, head)],
            "played": lambda: watch_played(pythons, calibrate(head)),
            "heads": lambda: watch_heads(pythons),
        }
        for name in arguments.sections or sections:
            for table in sections[name]():
                tables.append(table)
                print(f"\n{table.markdown()}", flush=True)
    figures = "\n".join([_machine(), *(table.markdown() for table in tables)])
    if arguments.write:
        before, _, rest = _README.read_text().partition(_BEGIN)
        _README.write_text(f"{before}{_BEGIN}\n{figures}\n{_END}{rest.partition(_END)[2]}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "sections", nargs="*", choices=["imports", "logs", "real", "task", "played", "heads", []]
    )
    parser.add_argument("--write", action="store_true", help="put the figures into README.md")
    parser.add_argument(
        "--environments",
        type=Path,
        default=Path(".tox"),
        help="where the environment of astro-provider-ray is kept",
    )
    return parser.parse_args()


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    names = ("apache-airflow", "ray", "aiohttp", "airflow-synapse")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, Linux "
        f"{platform.release().partition('-')[0]}, Python {platform.python_version()}, {versions}; "
        f"against {', '.join(ASTRO)}.\n"
    )


if __name__ == "__main__":
    main()
