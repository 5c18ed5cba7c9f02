"""The life of one pod: its network, its volumes, its containers, and their ends."""

from __future__ import annotations

import asyncio
import os
import traceback

from local_services.kubernetes.async_api import ApiError, Seen
from local_services.kubernetes.images import check_image
from local_services.kubernetes.kubelet import environment, pod_status, probes
from local_services.kubernetes.kubelet.container import Container
from local_services.kubernetes.kubelet.events import PodEvents
from local_services.kubernetes.kubelet.node import MERGE_PATCH, Node, now
from local_services.kubernetes.kubelet.sandbox import Sandbox
from local_services.kubernetes.kubelet.volumes import Volumes
from local_services.process_tree import TAG_VARIABLE

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LONGEST_PAUSE = 300.0


class Pod:
    """A pod on this node, alive from its creation on.

    :param seen: The pod as the API server has it; :meth:`see` takes each later version.
    :param slices: Where all services are, by the EndpointSlice's uid; shared with who watches it.
    """

    def __init__(self, seen: Seen, node: Node, slices: dict[str, Seen]) -> None:
        metadata, spec = seen["metadata"], seen["spec"]
        self.uid, self.name, self.namespace = (
            str(metadata[key]) for key in ("uid", "name", "namespace")
        )
        self._seen = seen
        self._node = node
        self._slices = slices
        self._path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
        self._folder = node.folder / self.uid
        self._born = now()
        self._events = PodEvents(seen, node)
        self._sandbox = Sandbox(seen, node)
        self._volumes = Volumes(
            self._folder / "volumes", node=node, sandbox=self._sandbox, events=self._events
        )
        self.inits, self.containers = (
            [Container(s, is_init=is_init, log_folder=self._folder) for s in spec.get(key) or []]
            for key, is_init in (("initContainers", True), ("containers", False))
        )
        self._writing = asyncio.Lock()
        self._is_gone = False
        self._life = asyncio.create_task(self._live())
        self._end: asyncio.Task[None] | None = None

    @property
    def all_containers(self) -> list[Container]:
        """Its containers, those that run first in front."""
        return [*self.inits, *self.containers]

    def see(self, seen: Seen) -> None:
        """Take a newer version of it; if that is to be deleted, end it."""
        self._seen = seen
        if self._is_deleted and self._end is None:
            self._end = asyncio.create_task(self._say_goodbye())

    def write_names(self) -> None:
        """Let its processes know where the services are now."""
        if self._sandbox.address and not self._is_gone:
            self._sandbox.write_names(self._slices.values())

    async def remove(self) -> None:
        """Kill what runs, and remove all of it from this machine."""
        if self._is_gone:
            return
        self._is_gone = True
        self._life.cancel()
        for container in self.all_containers:
            container.kill()
        await asyncio.gather(*(container.stop(0.0) for container in self.all_containers))
        await self._sandbox.close()
        self._volumes.remove()

    @property
    def _is_deleted(self) -> bool:
        return "deletionTimestamp" in self._seen["metadata"]

    async def _live(self) -> None:
        try:
            await self._prepare()
            for init in self.inits:
                await self._keep(init)
                if init.exit_code != 0:
                    return
            await asyncio.gather(*(self._keep(container) for container in self.containers))
        except Exception:
            # Seen by who reads the kubelet's log; all other pods live on.
            print(f"pod {self.namespace}/{self.name} broke:", flush=True)
            traceback.print_exc()

    async def _prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self.inits:
            for container in self.containers:
                container.wait_for("ContainerCreating")
        await self._write_status()
        await self._sandbox.open(self._slices.values())
        await self._volumes.fill(self._seen)

    async def _keep(self, container: Container) -> None:
        """Start a container as often as its pod wants it, and return when it has ended for good."""
        while True:
            await self._start(container)
            await self._run(container)
            if self._is_deleted or not pod_status.must_restart(self._seen, container):
                await self._write_status()
                return
            await self._back_off(container)
            container.begin_again()

    async def _start(self, container: Container) -> None:
        """Start a container, after waiting for what it lacks."""
        tries = 0
        while (lacks := check_image(container.spec["image"], self._node.images)) is not None:
            await self._tell_image(container, *lacks)
            await asyncio.sleep(self._pause(tries))
            tries += 1
        while True:
            try:
                return await self._launch(container)
            except environment.ConfigError as exc:
                await self._wait(container, "CreateContainerConfigError", str(exc))
                await self._events.warning("Failed", f"Error: {exc}", field=container.field)
            except OSError as exc:
                await self._wait(container, "CreateContainerError", str(exc))
                await self._events.warning("Failed", f"Error: {exc}", field=container.field)
            await asyncio.sleep(self._node.first_pause)

    async def _tell_image(self, container: Container, reason: str, why: str) -> None:
        """Say, as a kubelet does, that an image can't be had."""
        image, field = container.spec["image"], container.field
        if reason == "InvalidImageName":
            await self._wait(container, reason, why)
            await self._events.warning("InspectFailed", why, field=field)
            await self._events.warning("Failed", f"Error: {reason}", field=field)
            return
        await self._events.normal("Pulling", f'Pulling image "{image}"', field=field)
        await self._events.warning("Failed", f'Failed to pull image "{image}": {why}', field=field)
        await self._wait(container, reason, why)
        await self._events.warning("Failed", f"Error: {reason}", field=field)
        # A kubelet comes back to the pod after a moment, and finds that it has to wait.
        await asyncio.sleep(1.0)
        waits = f'Back-off pulling image "{image}"'
        await self._events.normal("BackOff", waits, field=field)
        await self._wait(container, "ImagePullBackOff", f"{waits}: {reason}: {why}")
        await self._events.warning("Failed", "Error: ImagePullBackOff", field=field)

    async def _launch(self, container: Container) -> None:
        surroundings = environment.Surroundings(
            self._seen,
            api=self._node.api,
            address=self._sandbox.address,
            node_address=self._node.network.gateway,
        )
        asked_for = await surroundings.environment(container.spec)
        env = self._own_environment(container) | asked_for
        own = self._folder / f"ray-{container.name}"
        own.mkdir(exist_ok=True)
        await container.start(
            environment.command(container.spec, env),
            env,
            sandbox=self._sandbox.name,
            hostname=self.name,
            mounts=[(own, "/tmp/ray"), *self._volumes.mounts(container.spec)],
            folder=self._folder,
        )
        await self._events.normal("Created", "Container created", field=container.field)
        await self._events.normal("Started", "Container started", field=container.field)
        await self._write_status()

    def _own_environment(self, container: Container) -> dict[str, str]:
        home = self._folder / "home"
        home.mkdir(exist_ok=True)
        first = self._node.images[container.spec["image"]]
        return {
            "PATH": f"{first}:{_PATH}" if first else _PATH,
            "HOME": str(home),
            "HOSTNAME": self.name,
            "KUBERNETES_SERVICE_HOST": self._node.network.gateway,
            "KUBERNETES_SERVICE_PORT": str(self._node.api_port),
            "KUBERNETES_SERVICE_PORT_HTTPS": str(self._node.api_port),
            # Who kills the kubelet finds by it what a container leaves behind.
            TAG_VARIABLE: os.environ.get(TAG_VARIABLE, ""),
        }

    async def _run(self, container: Container) -> None:
        """Wait for the end of a container, with its probes."""
        watch = probes.ProbeWatch(
            container,
            address=self._sandbox.address,
            events=self._events,
            changed=self._write_status,
            restart=lambda why: self._stop(container, why),
        )
        kinds = [kind for kind in probes.KINDS if kind in container.spec]
        watching = [asyncio.create_task(watch.watch(kind)) for kind in kinds]
        try:
            await container.ended()
        finally:
            for task in watching:
                task.cancel()
        await self._write_status()

    async def _back_off(self, container: Container) -> None:
        """Wait as long as a container has to that has ended too often. The first time is free."""
        container.last_state = container.state
        if container.restarts == 0:
            return
        pause = self._pause(container.restarts - 1)
        who = f"restarting failed container={container.name} pod={self._full_name}"
        await self._wait(container, "CrashLoopBackOff", f"back-off {pause:g}s {who}")
        await self._events.warning(
            "BackOff",
            f"Back-off restarting failed container {container.name} in pod {self._full_name}",
            field=container.field,
        )
        await asyncio.sleep(pause)

    async def _stop(self, container: Container, why: str = "") -> None:
        if container.is_running:
            message = why or f"Stopping container {container.name}"
            await self._events.normal("Killing", message, field=container.field)
            await container.stop(self._grace())

    def _grace(self) -> float:
        spec, metadata = self._seen["spec"], self._seen["metadata"]
        asked = metadata.get("deletionGracePeriodSeconds")
        asked = spec.get("terminationGracePeriodSeconds", 30) if asked is None else asked
        return float(min(asked, self._node.longest_grace))

    def _pause(self, times: int) -> float:
        return float(min(_LONGEST_PAUSE, self._node.first_pause * 2**times))

    @property
    def _full_name(self) -> str:
        return f"{self.name}_{self.namespace}({self.uid})"

    async def _say_goodbye(self) -> None:
        """Stop the containers, tell their ends, and give up the pod's name."""
        try:
            await asyncio.gather(*(self._stop(container) for container in self.all_containers))
            # Those that wait for a restart or an image would start after all.
            await asyncio.wait([self._life], timeout=0.5)
            await self._write_status()
            await self.remove()
            uid = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
            body = {"apiVersion": "v1", "kind": "DeleteOptions", **uid}
            await self._node.api.call("DELETE", self._path, body, fine=(404, 409))
        except ApiError as exc:
            print(f"end of {self._full_name}: {exc}", flush=True)

    async def _wait(self, container: Container, reason: str, message: str) -> None:
        container.wait_for(reason, message)
        await self._write_status()

    async def _write_status(self) -> None:
        async with self._writing:
            if self._is_gone:
                return
            status = pod_status.status(
                self._seen,
                self.inits,
                self.containers,
                address=self._sandbox.address,
                node_address=self._node.network.gateway,
                born=self._born,
            )
            body = {"metadata": {"uid": self.uid}, "status": status}
            path = f"{self._path}/status"
            await self._node.api.call("PATCH", path, body, kind=MERGE_PATCH, fine=(404, 409))
