"""A real browser before a real server: `spamcannibal web` on a database with hostile content, Debian's chromium.

Every page that is opened notes what it must not do: messages on the console, requests to anywhere else.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.faulty_dns import FaultyDns
from live.nets import wait_for
from ports import free_port
from spamcannibal.addr import parse_key
from spamcannibal.commands.common import open_store
from spamcannibal.config import load
from spamcannibal.record import PUBLISHED
from spamcannibal.store.stores import NewListing

ROOT = Path(__file__).parent.parent.parent
SHOTS = ROOT / "build/screenshots"
CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\u202egnp\x1b[31m"
LISTED, NETWORK, CLEAR, NEVER = "203.0.113.7", "203.0.112.0/24", "203.0.111.9", "127.0.0.1"
SETTINGS = """\
[store]
path = "store"
[guard]
never_list = "never-list"
[remote]
resolvers = ["{dns}"]
[robot]
smtp = "127.0.0.1:{smtp}"
[[dnsbl.zone]]
name = "bl.example.net"
[web]
listen = ["127.0.0.1:{port}"]
url = "http://127.0.0.1:{port}"
contact = "postmaster@example.net"
per_minute = 100000
[removal]
sender = "removal@example.net"
"""


@dataclass
class Running:
    """The server: where it is, its settings, the DNS that it asks, the mails it sent."""

    url: str
    folder: Path
    dns: FaultyDns

    def mails(self) -> list[str]:
        """Return the mails so far, oldest first."""
        found = sorted((self.folder / "mail/new").glob("*"), key=lambda path: path.stat().st_mtime_ns)
        return [path.read_text("utf-8") for path in found]

    def command(self, *argv: object, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of ours on the server's settings."""
        words = [sys.executable, "-m", "spamcannibal", "-c", self.folder / "s.toml", *argv]
        return subprocess.run(list(map(str, words)), check=check, capture_output=True, text=True, **options)


@contextlib.contextmanager
def running(folder: Path, more: str = "") -> Iterator[Running]:
    """Run the server, a mail server that keeps what it gets, and a DNS server."""
    port, smtp = free_port(), free_port()
    (folder / "never-list").write_text("@special\n198.51.100.0/24\n")
    with FaultyDns() as dns, contextlib.ExitStack() as stack:
        settings = SETTINGS.format(dns=dns.endpoint, port=port, smtp=smtp) + more
        (folder / "s.toml").write_text(settings)
        fill(folder)
        log = stack.enter_context((folder / "log").open("w"))
        ours = [sys.executable, "-m", "spamcannibal", "-c", str(folder / "s.toml"), "web"]
        mail = [sys.executable, "-m", "lab.smtpd", str(folder / "mail"), f"127.0.0.1:{smtp}"]
        for argv in (mail, ours):
            process = subprocess.Popen(argv, stdout=log, stderr=log, cwd=ROOT / "t")
            stack.callback(process.wait)
            stack.callback(process.terminate)
        for number in (port, smtp):
            wait_for(lambda number=number: is_open(number), f"port {number}: {(folder / 'log').read_text()}")
        yield Running(f"http://127.0.0.1:{port}", folder, dns)


def fill(folder: Path) -> None:
    """List somebody with hostile evidence and text, and a network."""
    with contextlib.closing(open_store(load(folder / "s.toml"))) as store:
        body = HOSTILE.encode() * 20
        listed = NewListing(parse_key(LISTED), text=HOSTILE, source="trap:main", evidence=body, flags=PUBLISHED)
        network = NewListing(parse_key(NETWORK), text="a nest", source="admin:root", flags=PUBLISHED)
        store.list([listed, network], time.time() - 40 * 86400)
        store.contacts([(parse_key(LISTED), 3, 1_700_000_000_000, 1_700_000_100_000)], [])


def is_open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Browser:
    """One chromium; `faults` are what any of its pages did wrong."""

    _chromium: Any
    _url: str
    faults: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def page(self, js: bool = True, width: int = 1100, dark: bool = False) -> Iterator[Any]:
        """Yield a page of a new visitor, who wants scripts or none, a width, light or dark."""
        context = self._chromium.new_context(
            java_script_enabled=js,
            viewport={"width": width, "height": 800},
            color_scheme="dark" if dark else "light",
            base_url=self._url,
        )
        context.set_default_timeout(10_000)
        context.on("request", self._on_request)
        context.on("console", lambda message: self.faults.append(f"console: {message.text}"))
        context.on("weberror", lambda error: self.faults.append(f"script: {error.error}"))
        try:
            yield context.new_page()
        finally:
            context.close()

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith((self._url, "blob:")):
            self.faults.append(f"request: {request.url}")


@contextlib.contextmanager
def browser(url: str) -> Iterator[Browser]:
    # Not at the top: the libraries' licence keeps them out of processes with scapy, unless a browser is wanted.
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield Browser(chromium, url)
        finally:
            chromium.close()


def violations(page: Any) -> list[str]:
    """Return what axe-core finds wrong with a page (WCAG 2 A and AA)."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found.response["violations"]]


def shoot(page: Any, name: str) -> None:
    """Keep a picture of a page, for people to look at."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
