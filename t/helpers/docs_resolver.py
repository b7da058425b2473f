"""A resolver at 127.0.0.1:53, for the machines of the documentation, that knows a blocklist which is well: ZONE."""

import sys
import threading

from faulty_dns import FaultyDns


class Resolver(FaultyDns):
    def _bind(self):
        self.port = 53
        self._udp.bind((self._host, 53))
        self._tcp.bind((self._host, 53))


with Resolver() as server:
    server.good_list(sys.argv[1])
    threading.Event().wait()
