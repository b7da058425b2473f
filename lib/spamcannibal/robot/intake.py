"""One message in, its Outcome out: proved, planned, answered, written, in this order and in straight lines.

    gate.py      who sent it                    fails: kept among the strangers' mails, nobody is told
    plan.py      what it would do               fails: kept among the dead letters, its submitter is told
    pgp.py       the answer is signed           fails: Unavailable, nothing was done yet
    folder.py    originals and dead letters     fails: Unavailable, nothing was done yet
    the store    listings, removals and the mark of the signature, in one transaction
    mailout.py   the answer is sent             fails: the answer is kept among the dead letters

Whatever is Unavailable, or wrong with store or settings, leaves the store as it was; the mail server has the mail still
and brings it again. Brought again after the transaction it is a replay, and not answered twice.
"""

import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from spamcannibal.addr import format_key
from spamcannibal.breaker import Breaker
from spamcannibal.errors import Unavailable, WireError
from spamcannibal.events import EventLog
from spamcannibal.robot import answer, policy
from spamcannibal.robot.answer import LOOP_HEADER, Reply
from spamcannibal.robot.automatic import is_automatic
from spamcannibal.robot.embedded import embedded
from spamcannibal.robot.folder import Folder
from spamcannibal.robot.gate import Gate, Mark, Proven
from spamcannibal.robot.mailout import Mailer
from spamcannibal.robot.message import Entity, Limits, read_entity
from spamcannibal.robot.neighbours import Neighbours
from spamcannibal.robot.orders import orders
from spamcannibal.robot.outcome import Outcome
from spamcannibal.robot.pgp import Pgp
from spamcannibal.robot.plan import Item, Plan, Terms, plan_orders, plan_report
from spamcannibal.robot.world import StoredWorld, listing_of
from spamcannibal.store.batch import Batch
from spamcannibal.store.seen import Seen
from spamcannibal.store.stores import Store

CLOCK_AHEAD_S = 300.0
REPLAYED = "replayed: this signature came before"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say.

    `address` is from whom answers come, empty: none are sent. Without `is_keeping` what was refused is not kept: it is
    in a file already. `is_dry` changes nothing at all.
    """

    terms: Terms = field(default_factory=Terms)
    limits: Limits = field(default_factory=Limits)
    window_s: float = 604_800.0
    address: str = ""
    is_keeping: bool = True
    is_dry: bool = False


@dataclass(frozen=True, slots=True)
class Tools:
    """What a robot works with. `dead` keeps what a submitter sent in vain, `strangers` what nobody vouched for."""

    store: Store
    gate: Gate
    pgp: Callable[[], Pgp]
    breaker: Callable[[float], Breaker]
    mailer: Mailer
    dead: Folder
    strangers: Folder
    originals: Folder
    log: EventLog
    neighbours: Neighbours | None = None


class Robot:
    """Takes messages; threads may share it."""

    def __init__(self, rules: Rules, tools: Tools) -> None:
        self._rules = rules
        self._tools = tools
        self._seen = Seen(tools.store.env)
        self._turn = threading.Lock()  # a plan holds until it is written

    def take(self, raw: bytes, now: float) -> Outcome:
        """Deal with one message. Unavailable, StoreError and ConfigError mean: nothing was done, bring it again."""
        try:
            entity = read_entity(raw, self._rules.limits)
            proven = self._tools.gate.prove(entity)
            self._check_fresh(proven, now)
        except WireError as error:
            self._keep(self._tools.strangers, raw, str(error), now)
            return Outcome("refused", str(error))
        with self._turn:
            plan = self._plan(proven, now)
            if self._rules.is_dry:
                return plan.outcome
            reply = self._reply(entity, proven, plan.outcome)
            mail = self._signed(reply, now) if reply else b""
            if plan.outcome.kind == "refused":
                self._keep(self._tools.dead, raw, plan.outcome.reason, now)
            try:
                self._write(plan, proven, now)
            except WireError as error:
                self._keep(self._tools.strangers, raw, str(error), now)
                return Outcome("refused", str(error))
        is_told = reply is not None and self._send(reply, mail, now)
        if self._tools.neighbours and plan.outcome.kind == "listed":
            with self._turn:
                world = StoredWorld(self._tools.store, self._tools.breaker, now)
                self._tools.neighbours.list_around(plan.outcome.keys, proven.submitter.source, world, now)
        return replace(plan.outcome, is_told=is_told)

    def _check_fresh(self, proven: Proven, now: float) -> None:
        """Raise WireError unless the message is new."""
        if proven.mark is None:
            return
        policy.check_time(proven.mark.time_s, now, self._rules.window_s, CLOCK_AHEAD_S)
        if self._seen.has(proven.mark.time_s, proven.mark.digest):
            raise WireError(REPLAYED)

    def _plan(self, proven: Proven, now: float) -> Plan:
        """Return what to do about a message, WireErrors made into a refusal that the submitter is told."""
        who, terms = proven.submitter, self._rules.terms
        world = StoredWorld(self._tools.store, self._tools.breaker, now)
        try:
            reported = embedded(proven.content, self._rules.limits)
            if reported:
                policy.needs_role(who, policy.REPORT)
                return plan_report(reported, who, terms, world, now)
            asked = orders(_text(proven.content), terms.v6_prefix)
            if not asked:
                raise WireError("no message in it and no command")
            policy.needs_role(who, policy.COMMAND)
            if not proven.is_signed:
                raise WireError("a command that is not signed")
            return plan_orders(asked, who, terms, world, now)
        except WireError as error:
            return Plan(Outcome("refused", str(error), (), who.name))

    def _reply(self, entity: Entity, proven: Proven, outcome: Outcome) -> Reply | None:
        """Return the answer, None if none may be sent."""
        address = self._rules.address
        why_not = is_automatic(entity, LOOP_HEADER) or is_automatic(proven.content, LOOP_HEADER)
        if not address or not proven.recipient or why_not or proven.recipient.lower() == address.lower():
            return None
        known_by = (entity.header("message-id"), entity.header("references"))
        return Reply(address, proven.recipient, outcome.title, tuple(outcome.lines()), *known_by)

    def _signed(self, reply: Reply, now: float) -> bytes:
        part = answer.body_part(reply)
        return answer.message(reply, part, self._tools.pgp().sign(part), secrets.token_hex(16), now)

    def _write(self, plan: Plan, proven: Proven, now: float) -> None:
        """Write a plan and the mark of its signature: all of it or nothing."""
        store, mark = self._tools.store, proven.mark
        for item in plan.items:
            store.guard.check(item.key)
            self._keep_original(item, now)
        runs: list[None] = []  # after a recovery it runs once more, and then finds its own mark

        def write(batch: Batch) -> None:
            for item in plan.items:
                batch.list(listing_of(item))
            for key, why in plan.removals:
                batch.unlist(key, proven.submitter.source, why)
            if mark is not None and not self._note(mark, now, batch) and not runs:
                raise WireError(REPLAYED)  # the same mail in two hands at once
            runs.append(None)

        if plan.items or plan.removals or mark is not None:
            store.transact(now, write)

    def _note(self, mark: Mark, now: float, batch: Batch) -> bool:
        return self._seen.note(mark.time_s, mark.digest, now - self._rules.window_s - CLOCK_AHEAD_S, batch.txn)

    def _keep_original(self, item: Item, now: float) -> None:
        """Keep what was reported as it came, for the operator."""
        if item.original:
            about = {"X-Spamcannibal-Key": format_key(item.key), "X-Spamcannibal-Source": item.source}
            self._tools.originals.put(item.original, about, now)

    def _keep(self, folder: Folder, raw: bytes, reason: str, now: float) -> None:
        """Keep a message with the reason."""
        if self._rules.is_keeping and not self._rules.is_dry:
            folder.put(raw, {"X-Spamcannibal-Refused": reason}, now)

    def _send(self, reply: Reply, mail: bytes, now: float) -> bool:
        """Send an answer; one that the mail server does not take is kept."""
        try:
            # From nobody: should it come back, it is a bounce of its own and ends there.
            self._tools.mailer.send("", [reply.recipient], mail)
        except Unavailable as error:
            self._tools.log.emit("UNSENT", recipient=reply.recipient, why=str(error))
            with suppress(Unavailable):  # what was to be done is done: this must not bring the mail back
                self._tools.dead.put(mail, {"X-Spamcannibal-Unsent": str(error)}, now)
            return False
        return True


def event(outcome: Outcome) -> dict[str, object]:
    """Return the fields of an outcome's event."""
    return {
        "kind": outcome.kind,
        "submitter": outcome.submitter or None,
        "keys": ",".join(map(format_key, outcome.keys)) or None,
        "answered": outcome.is_told,
        "why": outcome.reason or None,
    }


def _text(entity: Entity) -> str:
    """Return the first plain text of a message."""
    return next((part.text() for part in entity.leaves() if part.content_type == "text/plain"), "")
