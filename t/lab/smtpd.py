"""A real SMTP server that keeps what it gets in a Maildir: python -m lab.smtpd MAILDIR ADDR:PORT [ADDR:PORT ...]

It stands behind the tarpit in the laboratory, as a process of its own: aiosmtpd is under the Apache licence and must
not share a process with GPL-2.0-only parts (scapy). A message is a file before it is acknowledged.
"""

from __future__ import annotations

import asyncio
import mailbox
import signal
import sys
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

SIZE_LIMIT_BYTES = 1 << 20


class Keeper:
    """aiosmtpd's handler: one file a message, with who sent it in its header."""

    def __init__(self, path: Path) -> None:
        self.box = mailbox.Maildir(path)

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.original_content or b""
        self.box.add(b"X-Peer: %s\r\n" % str((session.peer or "?")[0]).encode() + content)
        self.box.flush()
        return "250 2.0.0 kept"


async def serve(path: Path, endpoints: list[str]) -> None:
    """Answer on every endpoint until SIGTERM."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    keeper = Keeper(path)

    def make() -> SMTP:
        return SMTP(keeper, hostname="mail.example.net", data_size_limit=SIZE_LIMIT_BYTES, loop=loop)

    servers = []
    for endpoint in endpoints:
        host, _, port = endpoint.rpartition(":")
        servers.append(await loop.create_server(make, host.strip("[]"), int(port)))
    print("ready", flush=True)
    await ended.wait()
    for server in servers:
        server.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2:]))
