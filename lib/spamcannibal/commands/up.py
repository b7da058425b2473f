"""`spamcannibal up`: all enabled services as child processes of one supervisor in the foreground.

supervise.py holds the rules; here are the processes. Each service is `spamcannibal NAME` with our settings file, in a
session of its own so that Ctrl-C reaches only us and they stop in order. What a service prints comes out on our stderr
with its name in front (a JSON line gets a "service" key instead). SIGHUP is passed on, SIGTERM and SIGINT stop all, a
second one kills. Should we die without a word, the kernel sends each service SIGTERM (PR_SET_PDEATHSIG): no orphans.
Services say that they are ready, and that they are alive, by sd_notify(3) to a socket of ours; when all are ready, we
tell whoever supervises us.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, TextIO

import click

from spamcannibal.commands.common import config_path, load_settings
from spamcannibal.errors import ConfigError
from spamcannibal.events import format_event
from spamcannibal.service import notify
from spamcannibal.supervise import Action, Policy, Supervisor, Verb

LINE_LIMIT_BYTES = 65536
SERVICES = {"robot": ("robot", "--lmtp")}  # where it is not the name alone
_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_CREDENTIALS = struct.Struct("3i")


@click.command()
@click.pass_context
def command(ctx: click.Context) -> None:
    """Run all enabled services in the foreground, each line of theirs with its name in front.

    What dies is started again, later each time. SIGHUP makes the services read their settings again (a change of
    [services] itself needs a restart of this command); SIGTERM or Ctrl-C stops all in order, a second one kills.

    \b
    Examples:
      spamcannibal up
      spamcannibal -c lab.toml --log-format json up
    """
    settings = load_settings(ctx)
    services = settings.services
    if not services.enabled:
        names = "tarpit, dnsbl, gather, follow, robot, trap, share, web"
        raise ConfigError(f"services.enabled: nothing to run, got [], want some of {names}")
    path = config_path(ctx)
    words = [sys.executable, "-P", "-m", "spamcannibal", *(["-c", path] if path else [])]
    words += ["--log-format", settings.log.format]
    commands = {str(name): [*words, *SERVICES.get(name, (name,))] for name in services.enabled}
    policy = Policy(services.restart_initial_s, services.restart_max_s)
    ctx.exit(Runner(commands, policy, sys.stderr, settings.log.format).run())


class Runner:
    """The processes of the services `commands` (name -> argv) under one supervisor, until all have stopped."""

    def __init__(self, commands: Mapping[str, Sequence[str]], policy: Policy, stream: TextIO, fmt: str) -> None:
        self.commands = commands
        self.supervisor = Supervisor(list(commands), policy)
        self.output = Output(stream, fmt, width=max(map(len, commands), default=0))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.selector = selectors.DefaultSelector()
        self._was_ready = False

    def run(self) -> int:
        """Supervise until everything has stopped; return the exit code."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.selector)
            self._signals = stack.enter_context(_signal_socket())
            self._notices = stack.enter_context(_notice_socket())
            self.selector.register(self._signals, selectors.EVENT_READ, self._on_signal)
            self.selector.register(self._notices, selectors.EVENT_READ, self._on_notice)
            self._carry_out(self.supervisor.start(time.monotonic()))
            while not self.supervisor.is_done:
                self._turn()
        self.output.emit("DOWN", code=self.supervisor.exit_code)
        return self.supervisor.exit_code

    def _turn(self) -> None:
        due = self.supervisor.next_due()
        for key, _ in self.selector.select(None if due is None else max(0.0, due - time.monotonic())):
            # What an earlier event of this turn closed is not read any more.
            if self.selector.get_map().get(key.fd) is key:
                key.data()
        self._carry_out(self.supervisor.tick(time.monotonic()))

    def _carry_out(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action.verb:
                case Verb.START:
                    self._start(action.service)
                case Verb.TERMINATE | Verb.KILL:
                    self.output.emit(action.verb.upper(), service=action.service)
                    with contextlib.suppress(ProcessLookupError):
                        process = self.processes[action.service]
                        process.terminate() if action.verb is Verb.TERMINATE else process.kill()
                case Verb.WAIT:
                    self.output.emit("RESTART", service=action.service, after_s=action.after_s)
                case Verb.FATAL:
                    self.output.emit("FATAL", service=action.service, why="wrong settings, starting again won't help")

    def _start(self, name: str) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("WATCHDOG_", "LISTEN_"))}
        environment["WATCHDOG_USEC"] = str(int(self.supervisor.policy.watchdog_s * 1e6))
        environment["NOTIFY_SOCKET"] = "@" + self._notices.getsockname()[1:].decode()
        try:
            process = subprocess.Popen(
                self.commands[name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 - there is one thread
            )
        except OSError as error:  # no memory, no processes left: it may pass
            self.output.emit("FAILED", service=name, why=str(error))
            self._carry_out(self.supervisor.exited(name, 1, time.monotonic()))
            return
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self.processes[name] = process
        pidfd = os.pidfd_open(process.pid)
        self.selector.register(process.stdout, selectors.EVENT_READ, lambda: self._on_output(name, process.stdout))
        self.selector.register(pidfd, selectors.EVENT_READ, lambda: self._on_exit(name, pidfd))
        self.output.emit("START", service=name, pid=process.pid)

    def _on_output(self, name: str, pipe: IO[bytes] | None) -> None:
        assert pipe is not None
        with contextlib.suppress(BlockingIOError):
            if data := os.read(pipe.fileno(), LINE_LIMIT_BYTES):
                self.output.feed(name, data)
                return
            self.selector.unregister(pipe)

    def _on_exit(self, name: str, pidfd: int) -> None:
        process = self.processes[name]
        code = process.wait()
        self.selector.unregister(pidfd)
        os.close(pidfd)
        assert process.stdout is not None
        with contextlib.suppress(BlockingIOError):
            # A pipe holds 1 MiB at most; without a bound, a grandchild that goes on printing would keep us here.
            for _ in range(16):
                self.output.feed(name, os.read(process.stdout.fileno(), LINE_LIMIT_BYTES))
        self.output.end(name)
        with contextlib.suppress(KeyError):
            self.selector.unregister(process.stdout)
        process.stdout.close()
        how = {"code": code} if code >= 0 else {"signal": signal.Signals(-code).name}
        self.output.emit("EXIT", service=name, pid=process.pid, **how)
        self._carry_out(self.supervisor.exited(name, code, time.monotonic()))

    def _on_signal(self) -> None:
        for number in self._signals.recv(64):
            if number == signal.SIGHUP:
                # One that is not ready reads the new settings anyway, and SIGHUP would end it.
                for name in [name for name, service in self.supervisor.services.items() if service.is_ready]:
                    self.output.emit("RELOAD", service=name)
                    self.processes[name].send_signal(signal.SIGHUP)
            else:
                notify("STOPPING=1")
                self._carry_out(self.supervisor.stop(time.monotonic()))

    def _on_notice(self) -> None:
        data, ancillary, _, _ = self._notices.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
        senders = [_CREDENTIALS.unpack(body[: _CREDENTIALS.size])[0] for _, _, body in ancillary]
        said = data.split(b"\n")
        for name in [name for name, process in self.processes.items() if process.pid in senders]:
            if b"WATCHDOG=1" in said:
                self.supervisor.beat(name, time.monotonic())
            if b"READY=1" in said:
                self.supervisor.ready(name)
                self.output.emit("READY", service=name)
        if self.supervisor.is_ready and not self._was_ready:
            self._was_ready = True
            self.output.emit("UP", services=",".join(self.commands))
            notify("READY=1")


class Output:
    """Lines of several services on one stream; a stream that went away loses them and stops nobody."""

    def __init__(self, stream: TextIO, fmt: str, width: int) -> None:
        self.stream = stream
        self.fmt = fmt
        self.width = max(width, len("up"))
        self.pending: dict[str, bytes] = {}

    def emit(self, verb: str, /, **fields: Any) -> None:
        """Put out an event of our own."""
        self._put("up", format_event(verb, fields, self.fmt, time.time()))

    def feed(self, name: str, data: bytes) -> None:
        """Take what a service printed; whole lines come out, the rest waits, a line without end is cut."""
        *lines, rest = (self.pending.get(name, b"") + data).split(b"\n")
        if len(rest) > LINE_LIMIT_BYTES:
            lines, rest = [*lines, rest], b""
        self.pending[name] = rest
        for line in lines:
            self._put(name, line.decode(errors="backslashreplace").rstrip("\r"))

    def end(self, name: str) -> None:
        """Put out what a service left without a line's end."""
        if rest := self.pending.pop(name, b""):
            self.feed(name, rest + b"\n")

    def _put(self, name: str, line: str) -> None:
        text = f"{name:<{self.width}} | {line}"
        if self.fmt == "json":
            text = json.dumps({"service": name} | _as_object(line))
        with contextlib.suppress(OSError, ValueError):
            print(text, file=self.stream, flush=True)


def _as_object(line: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        value = json.loads(line)
        if isinstance(value, dict):
            return value
    return {"line": line}


def _die_with(parent: int) -> Callable[[], None]:
    """Return what a new child calls so that it gets SIGTERM when this process ends, however it ends."""
    libc = ctypes.CDLL(None)

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # died between the fork and the line above
            os._exit(0)

    return arm


@contextlib.contextmanager
def _signal_socket() -> Any:
    """Yield a socket on which each signal that we get is one byte, its number."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    try:
        yield reader
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        reader.close()
        writer.close()


@contextlib.contextmanager
def _notice_socket() -> Any:
    """Yield a datagram socket with a name of the kernel's choice that tells the sender's pid."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.bind("")
        yield sock
