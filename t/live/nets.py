"""Network namespaces and veth pairs for tests on the real kernel.

    with Lab("queue") as lab:
        server, client = lab.host("server"), lab.host("client")
        lab.link(server, client, "10.77.0.1/24", "10.77.0.2/24")
        lab.link(server, client, "fd77::1/64", "fd77::2/64")       # further addresses on the same pair
        server.run("iptables", "-A", "INPUT", ...)                 # run to its end, checked
        daemon = server.start("spamcannibal", "tarpit")            # killed when the lab ends
        with client.entered():                                     # this thread stands in the namespace:
            sock = socket.create_connection(("10.77.0.1", 25))     # a socket stays where it was made

Names carry the pid, so that several test runs can share a machine; everything is removed when the lab ends,
whatever the test did. Processes enter with nsenter, which execs: the pid of `start` is the program itself.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CLONE_NEWNET = 0x40000000
ROOT = Path(__file__).resolve().parents[2]
NETNS = Path("/run/netns")
_libc = ctypes.CDLL(None, use_errno=True)
_serial = itertools.count(1)


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def run(*argv: object, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; what it printed stands in the exception when it fails."""
    words = [str(word) for word in argv]
    options.setdefault("timeout", 60)
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def wait_for(question: Callable[[], Any], what: str, limit_s: float = 60.0, step_s: float = 0.05) -> Any:
    """Ask until the answer is true and return it; AssertionError naming `what` after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit_s:g} s: {what}")
        time.sleep(step_s)


class Host:
    """One network namespace with its loopback up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.processes: list[subprocess.Popen[Any]] = []
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")

    def argv(self, *argv: object) -> list[str]:
        """The command line that runs `argv` in this namespace."""
        return ["nsenter", f"--net={NETNS / self.name}", *(str(word) for word in argv)]

    def run(self, *argv: object, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in this namespace to its end."""
        return run(*self.argv(*argv), check=check, **options)

    def start(self, *argv: object, **options: Any) -> subprocess.Popen[Any]:
        """Start a process in this namespace; the lab kills it at its end if it still runs."""
        process = subprocess.Popen(self.argv(*argv), **options)
        self.processes.append(process)
        return process

    def ip(self, *argv: object) -> str:
        """`ip -n NAME ...`: links, addresses and routes of this namespace."""
        return run("ip", "-n", self.name, *argv).stdout

    def sysctl(self, key: str, value: object) -> None:
        """Set a net.* sysctl of this namespace."""
        self.run("sysctl", "-q", "-w", f"{key}={value}")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Move the calling thread into this namespace for the block."""
        with Path("/proc/thread-self/ns/net").open("rb") as home, (NETNS / self.name).open("rb") as there:
            _setns(there.fileno())
            try:
                yield
            finally:
                _setns(home.fileno())

    def close(self) -> None:
        """Kill what was started here and remove the namespace."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
        run("ip", "netns", "delete", self.name, check=False)


class Lab:
    """Some hosts and the veth pairs between them; a context manager that leaves nothing behind."""

    def __init__(self, prefix: str) -> None:
        self.prefix = f"{prefix}{os.getpid()}-{next(_serial)}"
        self.hosts: dict[str, Host] = {}
        self.links: dict[frozenset[str], str] = {}

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts.values():
            host.close()

    def host(self, name: str) -> Host:
        """Make one namespace."""
        made = Host(f"{self.prefix}-{name}")
        self.hosts[name] = made
        return made

    def link(self, one: Host, other: Host, one_addr: str, other_addr: str) -> str:
        """Join two hosts by a veth pair (made once, the same name on both ends) and add an address to each end."""
        pair = frozenset((one.name, other.name))
        if pair not in self.links:
            name = self.links[pair] = f"v{len(self.links)}"
            one.ip("link", "add", name, "type", "veth", "peer", "name", name, "netns", other.name)
            for end in (one, other):
                end.ip("link", "set", name, "up")
        name = self.links[pair]
        for end, addr in ((one, one_addr), (other, other_addr)):
            end.ip("addr", "add", addr, "dev", name, *(("nodad",) if ":" in addr else ()))
        return name


def queue_rules(host: Host, queues: str = "0", port: int = 25, tool: str = "iptables") -> None:
    """Queue NEW and INVALID packets to `port`, IPv4 and IPv6, failing open: the daemon's own firewall in a few rules.

    Replies by raw socket (mark 0x5343) are not tracked, or the kernel would take the connection for established.
    Only SYNs bypass a queue that nobody has bound. What belongs to no connection and begins none is dropped then: an
    ACK of a held client that reached the kernel would be answered by a reset, and the client be free.
    `tool` may be iptables, iptables-nft or iptables-legacy; `queues` "0" or a range "0:3".
    """
    target = ("--queue-balance", queues, "--queue-cpu-fanout") if ":" in queues else ("--queue-num", queues)
    match = ("-p", "tcp", "--dport", port, "-m", "conntrack", "--ctstate", "NEW,INVALID")
    for command in (tool, tool.replace("iptables", "ip6tables")):
        host.run(command, "-w", "-A", "INPUT", *match, "--syn", "-j", "NFQUEUE", *target, "--queue-bypass")
        host.run(command, "-w", "-A", "INPUT", *match, "-j", "NFQUEUE", *target)
        host.run(command, "-w", "-t", "raw", "-A", "OUTPUT", "-m", "mark", "--mark", "0x5343", "-j", "NOTRACK")


def missing() -> str:
    """Say what this machine lacks for live tests, "" if nothing: root, namespaces, the kernel's queue target."""
    if os.geteuid() != 0:
        return "needs root"
    try:
        with Lab("probe") as lab:
            queue_rules(lab.host("probe"))
    except (AssertionError, OSError) as error:
        return f"needs network namespaces and the NFQUEUE target: {str(error).splitlines()[-1]}"
    return ""
