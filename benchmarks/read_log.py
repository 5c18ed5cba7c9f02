"""Read one job's log in one of several ways, and print how long that took.

Lines ``stamp <seconds since the epoch>`` tell how late they come.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time


class Reader:
    def __init__(self) -> None:
        self.lines = 0
        self.delays: list[float] = []

    def take(self, lines) -> None:
        self.lines += len(lines)
        for line in lines:
            if line.startswith("stamp "):
                self.delays.append(time.time() - float(line[6:]))


def read_synapse(url: str, job_id: str, reader: Reader) -> None:
    from airflow_synapse.rayjobs.models import RayCluster
    from airflow_synapse.rayjobs.watching.cluster_watch import shared_watch
    from airflow_synapse.rayjobs.watching.job_watcher import JobWatcher, WatchOptions

    class Silent:
        def info(self, *_):
            pass

        warning = error = debug = info

    async def follow() -> None:
        async with shared_watch(RayCluster(url)) as watch:
            options = WatchOptions(poll_interval=1.0)
            await JobWatcher(
                watch, job_id, options=options, emit=reader.take, logger=Silent()
            ).watch()

    reader.began = time.perf_counter()
    asyncio.run(follow())


def read_websocket(url: str, job_id: str, reader: Reader) -> None:
    """What astro-provider-ray does: Ray's client, then line by line."""
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(url)

    async def follow() -> None:
        async for text in client.tail_job_logs(job_id):
            reader.take([line.strip() for line in text.split("\n") if line.strip()])

    reader.began = time.perf_counter()
    asyncio.run(follow())


def read_raw(url: str, job_id: str, reader: Reader) -> None:
    """The physical limit: the bytes of the file as the dashboard serves them."""
    import aiohttp

    async def download() -> None:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/api/jobs/{job_id}") as answer:
                node = (await answer.json())["driver_node_id"]
            query = {
                "node_id": node,
                "filename": f"job-driver-{job_id}.log",
                "lines": "-1",
                "timeout": "600",
            }
            async with session.get(f"{url}/api/v0/logs/file", params=query) as answer:
                async for chunk in answer.content.iter_any():
                    reader.lines += chunk.count(b"\n")

    reader.began = time.perf_counter()
    asyncio.run(download())


def main() -> None:
    kind, url, job_id = sys.argv[1:4]
    reader = Reader()
    before = None
    read = {"ours": read_synapse, "astro": read_websocket, "raw": read_raw}[kind]
    before = resource.getrusage(resource.RUSAGE_SELF)
    read(url, job_id, reader)
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - reader.began,
                "lines": reader.lines,
                "delays": reader.delays,
                "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
                "peak_mb": after.ru_maxrss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
