"""The DNS server's shell: datagrams and connections in, replies of answer.py out. Decides nothing about DNS.

    server = Server(endpoints, limits, log)     binds, so that a wrong setting shows at once; queries wait in the kernel
    server.start(view, texts)                   answers in a thread of its own
    server.publish(view)                        another view from the next query on
    server.stop()
    server.close()

UDP is answered by the C loops of udp.py, one a thread; one more thread runs an asyncio loop for TCP and for what the C
loops hand over. The caller's thread is free for signals and the store. A query that fails in an unforeseen way is
counted, logged and answered SERVFAIL.
"""

import asyncio
import os
import socket
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain

from spamcannibal._core import DnsView
from spamcannibal.addr import format_endpoint, parse_addr
from spamcannibal.dnsbl import answer as answers
from spamcannibal.dnsbl.answer import Transport, View
from spamcannibal.dnsbl.cookies import Cookies
from spamcannibal.dnsbl.metrics import Told
from spamcannibal.dnsbl.pages import Pages
from spamcannibal.dnsbl.responder import Log, Policy, Responder
from spamcannibal.dnsbl.sockets import activated, bind_group, bind_stream
from spamcannibal.dnsbl.tcp import TcpServer
from spamcannibal.dnsbl.texts import Texts
from spamcannibal.dnsbl.udp import UdpLoops
from spamcannibal.errors import ConfigError, Unavailable, Unsupported

START_S = 10.0
NO_POLICY = Policy()


@dataclass(frozen=True)
class Limits:
    """What peers may take: the longest UDP reply, TCP connections at a time, seconds of silence on one.

    And what we take: threads that answer UDP.
    """

    udp_payload_bytes: int = answers.PAYLOAD_BYTES
    tcp_connections: int = 256
    tcp_idle_s: float = 10.0
    threads: int = 1


class Server:
    """The sockets of all endpoints, from `start` to `stop`."""

    _fast: DnsView | None

    def __init__(
        self, endpoints: Iterable[tuple[bytes, int]], limits: Limits, log: Log, policy: Policy = NO_POLICY
    ) -> None:
        self._limits = limits
        self.responder = Responder(Transport(False, limits.udp_payload_bytes), policy, log)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="dns", daemon=True)
        self._ready = threading.Event()
        self._udp_sockets: list[list[socket.socket]] = []  # of each endpoint, one a thread
        self._tcp_sockets: list[socket.socket] = []
        self._pages: list[tuple[Pages, socket.socket]] = []
        self._publishing = threading.Lock()  # views come from one thread, the data's age from another
        self._tcp: TcpServer | None = None
        self._udp_loops = UdpLoops((), limits.udp_payload_bytes, self.responder)  # none before all is bound
        try:
            given = activated(os.environ)
            if given:
                udp, self._tcp_sockets = given
                self._udp_sockets = [[sock] for sock in udp]
            else:
                for addr, port in endpoints:
                    udp, tcp = bind_group(addr, port, limits.threads)
                    self._udp_sockets.append(udp)
                    self._tcp_sockets.append(tcp)
            groups = list(zip(*self._udp_sockets, strict=True))
            self._udp_loops = UdpLoops(groups, limits.udp_payload_bytes, self.responder)
        except BaseException:
            self.close()
            raise

    @property
    def endpoints(self) -> list[str]:
        """Where we listen."""
        names = [sock.getsockname() for sock in self._tcp_sockets or chain.from_iterable(self._udp_sockets)]
        return [format_endpoint(parse_addr(name[0].partition("%")[0]), name[1]) for name in names]

    @property
    def figures(self) -> dict[str, int]:
        """Return what metrics say of connections."""
        return {"tcp_connections": len(self._tcp or ()), "tcp_evicted_total": self._tcp.evicted if self._tcp else 0}

    @property
    def told(self) -> Counter[Told]:
        """Return the replies by transport, zone, type and rcode, of Python and, in our zones, of the C loops."""
        return self.responder.told + self._udp_loops.told()

    @property
    def fast_counters(self) -> Counter[str]:
        """Return what the C loops count."""
        return self._udp_loops.counters()

    def add_pages(self, addr: bytes, port: int, pages: Pages) -> None:
        """Serve pages by HTTP, too; before start."""
        try:
            listener = bind_stream(addr, port)
        except (ConfigError, Unsupported) as error:
            raise type(error)(str(error).replace("dnsbl.listen", "dnsbl.metrics", 1)) from None
        self._pages.append((pages, listener))

    def start(self, view: View, texts: Texts | None) -> None:
        """Answer from now on; where the view never asks for texts, without any."""
        self.responder.publish(view, texts)
        self._fast = view.fast
        self._thread.start()
        if not self._ready.wait(START_S):
            raise Unavailable("dnsbl: the answering thread does not start")
        with self._publishing:
            self._publish_fast()
        self._udp_loops.start()

    @property
    def is_alive(self) -> bool:
        """Whether queries are being answered."""
        return self._thread.is_alive() and self._udp_loops.is_alive

    @property
    def counters(self) -> Counter[str]:
        """Count replies and silences by transport, and failures; of UDP also what the C loops count, as udp_NAME."""
        totals = Counter(self.responder.counters)
        for told, count in self.responder.told.items():
            totals[told.transport] += count
        for name, count in self._udp_loops.counters().items():
            totals[f"udp_{name}"] += count
        return totals

    def publish(self, view: View, texts: Texts) -> None:
        """Answer from another view."""
        with self._publishing:
            self.responder.publish(view, texts)
            self._fast = view.fast
            self._publish_fast()

    def set_cookies(self, cookies: Cookies | None) -> None:
        """Give these cookies from the next query on; None: none."""
        self.responder.policy = replace(self.responder.policy, cookies=cookies)
        self._udp_loops.set_cookies(cookies)

    def mark_stale(self, is_stale: bool) -> None:
        """Answer SERVFAIL in our zones, or no longer."""
        with self._publishing:
            if is_stale != self.responder.is_stale:
                self.responder.is_stale = is_stale
                self._publish_fast()

    def _publish_fast(self) -> None:
        self._udp_loops.publish(None if self.responder.is_stale else self._fast)

    def stop(self) -> None:
        """Answer no more."""
        self._udp_loops.stop()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def close(self) -> None:
        """Stop, and close the sockets."""
        self.stop()
        pages = (sock for _, sock in self._pages)
        for sock in (*chain.from_iterable(self._udp_sockets), *self._tcp_sockets, *pages):
            sock.close()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        tcp = self._tcp = TcpServer(self.responder.stream, self._limits.tcp_connections, self._limits.tcp_idle_s)
        for loop in self._udp_loops.loops:
            self._loop.add_reader(loop, self._udp_loops.take, loop)
        for listener in self._tcp_sockets:
            self._loop.run_until_complete(tcp.listen(listener))
        for pages, listener in self._pages:
            self._loop.run_until_complete(pages.listen(listener))
        self._loop.call_soon(self._ready.set)
        self._loop.run_forever()
        self._loop.run_until_complete(tcp.close())
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
