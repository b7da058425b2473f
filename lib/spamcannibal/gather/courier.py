"""Bring reports to a listener over one kept connection, as JSON lines; each is answered by a line (talk.py).

What a listener that can't be reached does not answer stays with the caller, who comes again. A listener answers before
its decisions are on disk, some 20 ms, so one that is killed may lose what it answered last: when a connection breaks,
the last of what was answered within SETTLE_S before is said again on the next one, after what is new. To a listener
that is the same still it says nothing: within a session reports count once.
"""

import json
import socket
import ssl
import time
from collections import deque
from collections.abc import Sequence

from spamcannibal.addr import format_endpoint, format_key
from spamcannibal.errors import Unavailable
from spamcannibal.gather.client import connected, secured
from spamcannibal.gather.line import Report

BATCH = 200
ANSWER_LIMIT_BYTES = 1 << 20
SETTLE_S = 5.0


class Courier:
    """A connection that is made when needed, and anew after an error."""

    def __init__(
        self,
        where: tuple[bytes, int] | str,
        secret: str = "",
        timeout_s: float = 10.0,
        tls: ssl.SSLContext | None = None,
        name: str = "",
        is_peer: bool = False,
    ) -> None:
        """`name` is the listener's by its certificate, if `tls` checks that; `is_peer` if we are another site to it."""
        self._where = where
        self._secret = secret
        self._timeout_s = timeout_s
        self._tls = tls
        self._name = name
        self._mark = {"peer": True} if is_peer else {}
        self._sock: socket.socket | None = None
        self._answered: deque[tuple[float, Report]] = deque(maxlen=BATCH)
        self._doubted: list[Report] = []

    def bring(self, reports: Sequence[Report]) -> list[str]:
        """Return what is answered to each report, "ok ..." or "refused ..."; Unavailable if nobody answers."""
        answers: list[str] = []
        try:
            for at in range(0, len(reports), BATCH):
                answers += self._exchange(reports[at : at + BATCH])
        except (OSError, ValueError) as error:
            self.close()
            self._doubt()
            shown = self._where if isinstance(self._where, str) else format_endpoint(*self._where)
            raise Unavailable(f"gather listener at {shown}: {error}") from None
        return answers

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _connected(self) -> socket.socket:
        if self._tls is None:
            return connected(self._where, self._timeout_s)
        return secured(self._where, self._timeout_s, self._tls, self._name)

    def _exchange(self, reports: Sequence[Report]) -> list[str]:
        if self._sock is None:
            self._sock = self._connected()
        answers = self._say(self._sock, reports)
        if self._doubted:
            self._say(self._sock, self._doubted)
        now_s = time.monotonic()
        self._answered.extend((now_s, report) for report in (*self._doubted, *reports))
        self._doubted = []
        return answers

    def _doubt(self) -> None:
        """Take it that what was answered lately may be lost."""
        since_s = time.monotonic() - SETTLE_S
        lately = [report for at_s, report in self._answered if at_s >= since_s]
        self._doubted = [*self._doubted, *lately][-BATCH:]
        self._answered.clear()

    def _say(self, sock: socket.socket, reports: Sequence[Report]) -> list[str]:
        rows = [
            {
                "colour": report.colour,
                "address": format_key(report.key),
                "reason": report.reason,
                "key": self._secret,
                **self._mark,
            }
            for report in reports
        ]
        sock.sendall(json.dumps(rows).encode() + b"\n")
        got = b""
        while got.count(b"\n") < len(reports):
            data = sock.recv(65536)
            if not data or len(got) > ANSWER_LIMIT_BYTES:
                raise ValueError("it closed the connection, or says something else")
            got += data
        return got.decode("ascii", "replace").splitlines()
