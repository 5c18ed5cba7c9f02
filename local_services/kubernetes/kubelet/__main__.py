"""Runs the node until SIGTERM: ``python -m local_services.kubernetes.kubelet --folder …``."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from pathlib import Path

from local_services.kubernetes.async_api import Api
from local_services.kubernetes.certificates import Certificates
from local_services.kubernetes.kubelet.log_server import serve_logs
from local_services.kubernetes.kubelet.node import Node, keep_alive
from local_services.kubernetes.kubelet.pods import Pods
from local_services.kubernetes.network import Network, remove_pods


async def run(options: argparse.Namespace) -> None:
    """Be a node until a signal comes."""
    network = Network(options.network)
    # Left by a kubelet that was killed, with all its containers.
    remove_pods(network.bridge)
    certificates = Certificates(options.certificates)
    url = f"https://{network.gateway}:{options.api_port}"
    async with Api(url, token=certificates.token("kubelet"), ca=certificates.ca) as api:
        node = Node(
            name=options.name,
            api=api,
            network=network,
            folder=options.folder,
            api_port=options.api_port,
            images=json.loads(options.images),
            version=options.version,
            first_pause=options.first_pause,
        )
        pods = Pods(node)
        async with serve_logs(
            pods,
            address=network.gateway,
            certificate=certificates.server,
            key=certificates.server_key,
        ):
            await _until_stopped(node, pods)
        await pods.remove_all()


async def _until_stopped(node: Node, pods: Pods) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    works = [keep_alive(node), pods.follow_services(), pods.follow(), stop.wait()]
    tasks = [asyncio.create_task(work) for work in works]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--network", type=int, required=True, help="number of the rig's network")
    parser.add_argument("--api-port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="for the pods")
    parser.add_argument("--certificates", type=Path, required=True, help="folder of the rig's")
    parser.add_argument("--images", required=True, help="JSON: what comes first on the PATH")
    parser.add_argument("--version", required=True, help="of Kubernetes")
    parser.add_argument("--first-pause", type=float, default=10.0, help="seconds of a back-off")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(run(_options()))
