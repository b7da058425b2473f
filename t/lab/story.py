"""The main job told step by step in the laboratory; every step is checked, IPv4 and IPv6 alike.

A listed sender connects and hangs to the end of the story. Meanwhile a clean one delivers, is remembered in the
archive, is put on the list and hangs on its next connection, stands in the DNS, is taken off and delivers again.
"""

from __future__ import annotations

import smtplib
import time
from collections.abc import Callable
from typing import Any

from lab.client import Sender, deliver
from lab.view import Board, Step
from lab.world import CLEAN, LISTED, MAIL, ZONE, World
from live.nets import wait_for
from spamcannibal.addr import parse_addr, reversed_name

FAMILIES = ("v4", "v6")
TEXT = "spam to a trap"
DELIVERY_LIMIT_S = 10.0
CHANGE_LIMIT_S = 1.0  # from the end of `list add` to a connection that hangs
HELD_AT_LEAST_S = 15.0


class Failed(Exception):
    """A step did not happen."""


class Story:
    """The steps over one world; `run` tells them."""

    def __init__(self, world: World, board: Board) -> None:
        self.world = world
        self.board = board
        self.senders: dict[str, Sender] = {}
        titles: list[tuple[str, Callable[[], Any]]] = [
            ("mail server alone: delivers", self.smtp_only),
            ("list add: the listed sender", self.list_first),
            ("spamcannibal up, firewall apply", self.up),
            ("listed sender connects: hangs", self.listed_hangs),
            ("clean sender delivers, intact", self.clean_delivers),
            ("… and stands in the archive", self.archived),
            ("dig: clean sender not listed", self.dns_clean),
            ("dig: listed sender, A and TXT", self.dns_listed),
            ("list add clean: next one hangs", self.list_clean),
            ("dig: now it is listed too", self.dns_both),
            ("list remove clean: delivers", self.unlist),
            ("listed sender hung all the time", self.still_held),
            ("SIGTERM: services stop in order", self.down),
        ]
        self.steps = [(board.plan(title), tell) for title, tell in titles]

    def run(self) -> None:
        """Tell the story to its end, or to the first step that did not happen."""
        for step, tell in self.steps:
            self.board.begin(step)
            try:
                step.cells.update(tell())
            except (Failed, AssertionError, OSError, smtplib.SMTPException) as error:
                self.board.end(step, why=str(error) or type(error).__name__)
                return
            self.board.end(step)

    def close(self) -> None:
        """Hang up."""
        for sender in self.senders.values():
            sender.close()

    def each(self, tell: Callable[[str], str]) -> dict[str, str]:
        return {family: tell(family) for family in FAMILIES}

    def smtp_only(self) -> dict[str, str]:
        self.world.start_smtp()
        return self.each(lambda family: self._deliver(family, f"before {family}"))

    def list_first(self) -> dict[str, str]:
        self._list("add", LISTED)
        return self.each(lambda family: LISTED[family].host)

    def up(self) -> dict[str, str]:
        began = time.monotonic()
        self.world.spamcannibal("firewall", "apply")
        self.world.start_up()
        return self.each(lambda _: f"ready in {time.monotonic() - began:.1f} s")

    def listed_hangs(self) -> dict[str, Any]:
        world = self.world
        self.senders |= {family: Sender(world.listed, MAIL[family].host) for family in FAMILIES}
        wait_for(lambda: all(s.greeting or s.error for s in self.senders.values()), "the first byte of a greeting")
        self._assert_held(FAMILIES)
        last = self.board.steps[11]
        last.cells = {family: lambda family=family: self._how_held(family) for family in FAMILIES}  # type: ignore[misc]
        return self.each(lambda family: f"connected in {self.senders[family].connected_s or 0:.3f} s, waits")

    def clean_delivers(self) -> dict[str, str]:
        return self.each(lambda family: self._deliver(family, f"clean {family}"))

    def archived(self) -> dict[str, str]:
        def count(family: str) -> str:
            return self.world.archived(CLEAN[family].host)

        return self.each(lambda family: str(wait_for(lambda: count(family), f"{CLEAN[family].host} in the archive")))

    def dns_clean(self) -> dict[str, str]:
        return self.each(lambda family: self._dig(family, CLEAN[family].host, want="NXDOMAIN"))

    def dns_listed(self) -> dict[str, str]:
        return self.each(lambda family: self._dig(family, LISTED[family].host, want="127.0.0.2"))

    def list_clean(self) -> dict[str, str]:
        self._list("add", CLEAN)
        listed = time.monotonic()
        while True:
            began = time.monotonic() - listed
            senders = {family: Sender(self.world.clean, MAIL[family].host) for family in FAMILIES}
            for sender in senders.values():
                sender.wait()
            if began > CHANGE_LIMIT_S:
                raise Failed(f"{began:.2f} s after list add a new connection still went through")
            if all(sender.is_held for sender in senders.values()):
                self.senders |= {f"clean {family}": sender for family, sender in senders.items()}
                return self.each(lambda _, late=began: f"hangs {late:.2f} s after the command")  # type: ignore[misc]
            for sender in senders.values():
                sender.close()

    def dns_both(self) -> dict[str, str]:
        return self.each(lambda family: self._dig(family, CLEAN[family].host, want="127.0.0.2"))

    def unlist(self) -> dict[str, str]:
        self._list("remove", CLEAN)
        removed = time.monotonic()

        def delivered(family: str) -> str:
            while True:
                try:
                    return self._deliver(family, f"again {family}", limit_s=2.0)
                except OSError:
                    if time.monotonic() - removed > DELIVERY_LIMIT_S:
                        raise

        return self.each(delivered)

    def still_held(self) -> dict[str, str]:
        wait_for(lambda: min(self.senders[f].held_s for f in FAMILIES) >= HELD_AT_LEAST_S, "time goes by", 60.0)
        self._assert_held(FAMILIES)
        return self.each(self._how_held)

    def down(self) -> dict[str, str]:
        self.close()
        code = self.world.stop_up()
        if code != 0:
            raise Failed(f"spamcannibal up ended with {code}")
        self.world.spamcannibal("firewall", "remove")
        return self.each(lambda _: "exit 0, rules removed")

    def _list(self, verb: str, who: dict[str, Any]) -> None:
        hosts = [address.host for address in who.values()]
        options = ["--text", TEXT] if verb == "add" else []
        self.world.spamcannibal("list", verb, *options, *hosts)

    def _deliver(self, family: str, subject: str, limit_s: float = DELIVERY_LIMIT_S) -> str:
        took_s = deliver(self.world.clean, MAIL[family].host, subject, limit_s)
        mine = [mail for mail in self.world.mails() if f"Subject: {subject}\r\n".encode() in mail]
        if len(mine) != 1 or CLEAN[family].host.encode() not in mine[0] or b"\r\n.\r\n..and lines" not in mine[0]:
            raise Failed(f"the mail {subject!r} did not arrive as it was sent: {mine}")
        return f"delivered in {took_s * 1000:.0f} ms"

    def _dig(self, family: str, host: str, want: str) -> str:
        name = f"{reversed_name(parse_addr(host))}.{ZONE}"
        words = ("dig", "+tries=2", "+time=2", f"@{MAIL[family].host}", name)

        def answer() -> str:
            header = self.world.clean.run(*words, "A", "+noall", "+comments", "+answer").stdout
            if want == "NXDOMAIN":
                return "NXDOMAIN" if "status: NXDOMAIN" in header else ""
            text = self.world.clean.run(*words, "TXT", "+short").stdout.strip()
            return f"{want} {text}" if want in header and text else ""

        return str(wait_for(answer, f"{want} as the answer to {name}", limit_s=5.0))

    def _assert_held(self, families: tuple[str, ...]) -> None:
        for family in families:
            sender = self.senders[family]
            if not sender.is_held:
                raise Failed(f"{family}: not held, error {sender.error!r}, greeting {sender.greeting!r}")

    def _how_held(self, family: str) -> str:
        sender = self.senders[family]
        got = sender.greeting.decode(errors="replace")
        return f"{sender.held_s:.0f} s for {len(got)} bytes: {got[:24]!r}"


def failed_step(board: Board) -> Step | None:
    """Return the step that did not happen."""
    return next((step for step in board.steps if step.state == "NO"), None)
