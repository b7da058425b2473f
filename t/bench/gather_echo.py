"""The named peer of bench_gather.py: a bare asyncio echo server, a Protocol and nothing more. PORT lines|kept"""

import asyncio
import sys


class Line(asyncio.Protocol):
    """Sends a line back, and closes."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        if data.endswith(b"\n"):
            self.transport.write(data)
            self.transport.close()


class Kept(Line):
    """Answers each request with a policy answer: echoing all of it would be more work than that."""

    def data_received(self, data):
        if data.endswith(b"\n\n"):
            self.transport.write(b"action=DUNNO\n\n")


async def main(port, protocol):
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", port, backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), {"lines": Line, "kept": Kept}[sys.argv[2]]))
