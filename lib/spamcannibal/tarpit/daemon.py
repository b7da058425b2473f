"""The tarpit daemon: one packet loop a kernel queue, the table behind them kept current, their notes carried off.

| thread | does | may wait for |
|---|---|---|
| loop N | packets of one queue, in C without the GIL | nothing but packets |
| follower | journal -> address table, every `follow_interval_s` | the store |
| clerk | notes -> store and log, every second; slots, activity, expiry, statistics | the store, the disk |
| cutter | deletes conntrack entries of fresh listings | the conntrack tool |
| main | signals, notices to the supervisor, watches the loops | nothing |

The queues are bound when the table is full: until then the rule's --queue-bypass lets packets go on as if there were no
tarpit. A thread that ends by itself ends the daemon with an error: a bound queue that nobody reads holds mail up, and a
list that nobody follows holds who is long off it.
"""

import queue
import socket
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from netfilterqueue import COPY_PACKET, NetfilterQueue

from spamcannibal._core import AddrTable, NfqLoop, Trap
from spamcannibal.errors import ConfigError, Replaced, SpamCannibalError, Unsupported
from spamcannibal.events import EventLog
from spamcannibal.service import CAP_NET_ADMIN, Signals, notify, set_capabilities, watchdog_s
from spamcannibal.settings import Settings
from spamcannibal.settings.tarpit import TarpitSettings
from spamcannibal.store.follow import Follower
from spamcannibal.store.stores import Store
from spamcannibal.tables import Tables
from spamcannibal.tarpit.book import Book
from spamcannibal.tarpit.chores import Chore, Worker
from spamcannibal.tarpit.clerk import Clerk
from spamcannibal.tarpit.firewall import cut_established
from spamcannibal.tarpit.keep import load_secret, load_slots
from spamcannibal.tarpit.notes import (
    has_capability,
    keys_to_cut,
    merge_reload,
    parse_queue_owners,
    parse_queues,
    trap_settings,
)

KERNEL_QUEUES = Path("/proc/self/net/netfilter/nfnetlink_queue")
QUEUE_LENGTHS = 4  # longer than the socket's buffer: what that has no room for is counted (nfqloop.h)
LOOK_S = 0.5  # how often main looks at the loops
STALL_S = 10.0  # a loop turns at least twice a second
CUTS_WAITING = 10_000
CUTS_A_TURN = 50


class Daemon:
    """The running parts; `serve` does it all, in the order of the methods."""

    def __init__(self, settings: Settings, store: Store, log: EventLog) -> None:
        self.settings = settings
        self.store = store
        self.log = log
        self.tables = Tables()
        self.follower = Follower(store, self.tables)
        self.folder = Path(settings.store.path)
        self.trap = Trap(max(1, settings.tarpit.connections), load_secret(self.folder))
        configure_trap(self.trap, settings.tarpit)
        self.queues: list[NetfilterQueue] = []
        self.loops: dict[int, NfqLoop] = {}
        self.threads: list[threading.Thread] = []
        self.workers: list[Worker] = []
        self.ended: list[SpamCannibalError] = []
        self.cuts: queue.Queue[bytes] = queue.Queue(CUTS_WAITING)

    def load(self, progress: Callable[[int], None]) -> None:
        """Fill the table from the store."""
        start = time.monotonic()
        count = self.follower.load(progress)
        self.log.emit("LOADED", listings=count, seconds=round(time.monotonic() - start, 3), seq=self.follower.seq)
        slots = load_slots(self.folder)
        try:
            if slots:
                self.log.emit("HELD", connections=self.trap.load(slots))
        except ValueError as error:  # clients that were held are met anew; nothing else depends on it
            self.log.emit("TROUBLE", what="slots", why=str(error))

    def bind(self) -> None:
        """Bind the queues and open the ways out; from here on packets wait for us."""
        tarpit = self.settings.tarpit
        for number in parse_queues(tarpit.queues):
            bound = bind_queue(number, tarpit)
            self.queues.append(bound)
            self.loops[number] = open_loop(bound, number, tarpit, self.tables.listings, self.trap)
        if tarpit.user:
            set_capabilities([CAP_NET_ADMIN])  # each verdict needs it; sockets that are open need no CAP_NET_RAW

    def serve(self, signals: Signals, reread: Callable[[], Settings]) -> None:
        """Run until SIGTERM; SpamCannibalError if a loop ends before, or the store is another one's by now."""
        clerk = Clerk(self.loops, self.trap, self.store, self.settings, self.log)
        book = Book(self.store, self.tables.listings, lambda: self.settings, clerk.counters)
        clerk.witness = book.note
        self.workers = self._workers(clerk, book)
        for number, loop in self.loops.items():
            thread = threading.Thread(target=self._run_loop, args=(number, loop), name=f"queue {number}", daemon=True)
            self.threads.append(thread)
        try:
            for runnable in (*self.threads, *self.workers):
                runnable.start()
            self.log.emit("START", queues=self.settings.tarpit.queues, mode=self.settings.tarpit.mode)
            notify("READY=1")
            self._watch(signals, reread)
        finally:
            notify("STOPPING=1")
            self._stop(clerk, book)

    def _workers(self, clerk: Clerk, book: Book) -> list[Worker]:
        follow = [Chore("follow", self.settings.store.follow_interval_s, self._follow)]
        notes = [
            Chore("contacts", 1.0, clerk.write_contacts),
            Chore("slots", 1.0, clerk.save_slots),
            Chore("activity", 1.0, book.turn),
            Chore("expiry", 60.0, clerk.expire),
            Chore("statistics", 60.0, clerk.tell_stats),
        ]
        cutting = [Chore("cut", 0.1, self._cut)]
        return [
            Worker("follower", follow, self.log),
            Worker("clerk", notes, self.log, niceness=10),
            Worker("cutter", cutting, self.log, niceness=10),
        ]

    def _run_loop(self, number: int, loop: NfqLoop) -> None:
        try:
            loop.run()
            why = "stopped"
        except OSError as error:
            why = str(error)
        bypassed = "where the rule has --queue-bypass, mail goes on untarpitted"
        self.ended.append(SpamCannibalError(f"queue {number}: {why}; {bypassed}"))

    def _follow(self) -> None:
        try:
            changes = self.follower.poll()
        except Replaced as error:  # that store never moves again
            self.ended.append(error)
            raise
        tarpit = self.settings.tarpit
        if not tarpit.cut_established:
            return
        for key in keys_to_cut(changes, tarpit.mode):
            try:
                self.cuts.put_nowait(key)
            except queue.Full:
                self.log.emit("SHED", what="cut", src=key)

    def _cut(self) -> None:
        for _ in range(CUTS_A_TURN):
            try:
                key = self.cuts.get_nowait()
            except queue.Empty:
                return
            cut_established(key, self.settings.firewall.ports)

    def _watch(self, signals: Signals, reread: Callable[[], Settings]) -> None:
        beat_s = watchdog_s()
        turns: dict[int, tuple[int, float]] = {}
        while not signals.stop:
            if self.ended:
                raise self.ended[0]
            dead = [worker.name for worker in self.workers if not worker.is_alive()]
            if dead:  # a fault that no chore threw: rather anew than with a list that stands still
                raise SpamCannibalError(f"thread {dead[0]} ended by itself; the log may say why")
            if signals.take_reload():
                self._reload(reread)
            now = time.monotonic()
            for number, loop in self.loops.items():
                count = loop.counters()["turns"]
                if turns.get(number, (-1, 0.0))[0] != count:
                    turns[number] = (count, now)
            if beat_s and all(now - since < STALL_S for _, since in turns.values()):
                notify("WATCHDOG=1")
            signals.wait(min(LOOK_S, beat_s) if beat_s else LOOK_S)

    def _reload(self, reread: Callable[[], Settings]) -> None:
        notify("RELOADING=1")
        try:
            settings, kept = merge_reload(self.settings, reread())
            configure_trap(self.trap, settings.tarpit)
        except SpamCannibalError as error:
            self.log.emit("RELOAD", done=False, why=str(error))
        else:
            self.settings = settings
            self.log.emit("RELOAD", done=True, needs_restart=",".join(kept) or None)
        notify("READY=1")

    def _stop(self, clerk: Clerk, book: Book) -> None:
        for loop in self.loops.values():
            loop.stop()
        for thread in self.threads:
            if thread.ident is not None:
                thread.join()
        for bound in self.queues:
            bound.unbind()
        stopped = [worker.ident is None or worker.stop() for worker in self.workers]
        if all(stopped):
            last = Worker("last", [], self.log)
            last.do(Chore("contacts", 1.0, clerk.write_contacts))
            last.do(Chore("slots", 1.0, clerk.save_slots))
            last.do(Chore("activity", 1.0, book.end))
            last.do(Chore("statistics", 1.0, clerk.tell_stats))
        self.log.emit("STOP")
        self.log.flush()


def configure_trap(trap: Trap, tarpit: TarpitSettings) -> None:
    """Give the trap its settings; ConfigError if it does not take them, and then nothing is changed."""
    try:
        trap.configure(**trap_settings(tarpit, socket.getfqdn()))
    except ValueError as error:
        raise ConfigError(f"tarpit: {error}") from error


def bind_queue(number: int, tarpit: TarpitSettings) -> NetfilterQueue:
    """Bind a kernel queue of this network namespace; Unsupported says what stands in the way."""
    try:
        bound = NetfilterQueue()
        with warnings.catch_warnings():  # about the socket's buffer, which the loop sets again, beyond the usual limit
            warnings.simplefilter("ignore", RuntimeWarning)
            length = tarpit.queue_length * QUEUE_LENGTHS
            bound.bind(number, _no_callback, length, COPY_PACKET, tarpit.copy_bytes)
    except OSError as error:
        raise Unsupported(f"queue {number}: {_why_not_bound(number, str(error))}") from error
    return bound


def _no_callback(packet: object) -> None:
    raise AssertionError("packets are read by NfqLoop")


def _why_not_bound(number: int, error: str) -> str:
    if not has_capability(Path("/proc/self/status").read_text("ascii"), CAP_NET_ADMIN):
        return "needs CAP_NET_ADMIN and CAP_NET_RAW; start it as root or by the systemd unit, which grants them"
    try:
        owners = parse_queue_owners(KERNEL_QUEUES.read_text("ascii"))
    except FileNotFoundError:
        return "this kernel has no nfnetlink_queue; load the module (modprobe nfnetlink_queue) or take another kernel"
    except PermissionError:  # only root may read it
        return f"{error} Is it bound by another process?"
    if number in owners:
        return f"is bound by netlink port {owners[number]} (mostly the process id); stop that or set tarpit.queues"
    return error


def open_loop(bound: NetfilterQueue, number: int, tarpit: TarpitSettings, table: AddrTable, trap: Trap) -> NfqLoop:
    """Make the loop of a bound queue, with its sockets for replies."""
    bounds = (tarpit.copy_bytes, tarpit.queue_length, tarpit.sightings)
    try:
        return NfqLoop(bound.get_fd(), number, table, trap, *bounds)
    except PermissionError as error:
        raise Unsupported("needs CAP_NET_RAW beside CAP_NET_ADMIN; the systemd unit grants both") from error
    except OSError as error:
        raise Unsupported(f"queue {number}: can't open a way out for replies: {error}") from error
    except ValueError as error:
        raise ConfigError(f"tarpit: {error}") from error
