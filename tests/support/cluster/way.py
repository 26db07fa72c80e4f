"""The way of callers into the cluster: a pod that connects to the Services, as any client in the cluster does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.support.cluster import port_forward
from tests.support.cluster.databases import PORTS, ports
from tests.support.cluster.namespace import Namespace
from tests.support.cluster.pods import idle_pod

LABELS = {"app": "callers"}
_FORWARD = """
import asyncio

async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()

def to(host, port):
    async def serve(reader, writer):
        try:
            far_reader, far_writer = await asyncio.wait_for(asyncio.open_connection(host, port), 3)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
    return serve

async def main():
    servers = [await asyncio.start_server(to(host, port), port=port) for host, port in SERVICES]
    await asyncio.gather(*(server.serve_forever() for server in servers))

asyncio.run(main())
"""


@contextlib.contextmanager
def to_services(namespace: Namespace, node: str) -> Iterator[dict[str, str]]:
    """Yield a URL for each service, which leads over a pod on this node to the Service.

    A connection that the Service does not accept within three seconds is closed. The pod has the labels LABELS.
    """
    services = [(f"tandem-{service}", port) for service, port in PORTS.items()]
    with idle_pod(namespace, LABELS, f"SERVICES = {services!r}\n{_FORWARD}", node) as pod:
        connects = {
            service: lambda port=port: port_forward.connect(namespace.name, pod, port)
            for service, port in PORTS.items()
        }
        with ports(**connects) as opened:
            yield {service: f"http://127.0.0.1:{opened[service]}" for service in PORTS}
