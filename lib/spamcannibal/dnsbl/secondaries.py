"""All that is done for other name servers that have our zones: transfers and notifications, by the zones' settings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spamcannibal.dnsbl.access import parse_grant, parse_target
from spamcannibal.dnsbl.answer import View
from spamcannibal.dnsbl.notifier import Notifier
from spamcannibal.dnsbl.notify import Subscription
from spamcannibal.dnsbl.responder import Log
from spamcannibal.dnsbl.transfer import Policy, Transfers
from spamcannibal.dnsbl.tsig import Keys
from spamcannibal.dnsbl.wire import Labels
from spamcannibal.dnsbl.zone import ZoneSpec, to_labels
from spamcannibal.errors import ConfigError
from spamcannibal.store.stores import Store

COUNTED = ("axfr_done", "axfr_failed", "ixfr_done", "ixfr_failed", "refused", "busy", "tsig_refused")


@dataclass(frozen=True)
class Terms:
    """What the settings say: zones, keys, how long changes are gathered, our addresses, transfers at a time."""

    specs: Sequence[ZoneSpec]
    keys: Keys
    delay_s: float
    sources: tuple[bytes, ...]
    limit: int


class Secondaries:
    """Transfers and notifications of one store, from the thread that follows it."""

    def __init__(self, store: Store, view: View, terms: Terms, log: Log) -> None:
        self._serial = view.serial()
        self.transfers = Transfers(store, view, _policy(terms), log, terms.limit)
        self.notifier = Notifier(log)

    def start(self, view: View, terms: Terms) -> None:
        """Tell the secondaries. Who is told asks at once: from here on we must be ready to answer."""
        self._subscribe(view, terms)

    @property
    def figures(self) -> dict[str, float]:
        """Return what metrics say of us."""
        counted = {f"transfers_{name}_total": self.transfers.counters[name] for name in COUNTED}
        return {"notify_unanswered": self.notifier.unanswered, "transfers_running": self.transfers.running, **counted}

    def adopt(self, view: View, terms: Terms) -> None:
        """Serve other zones."""
        self.transfers.adopt(view, _policy(terms))
        self._subscribe(view, terms)

    def changed(self, serial: int) -> None:
        """Note what was followed so far."""
        if serial != self._serial:
            self._serial = serial
            self.notifier.changed()

    def close(self) -> None:
        """Stop."""
        self.notifier.close()
        self.transfers.close()

    def _subscribe(self, view: View, terms: Terms) -> None:
        self.notifier.adopt(view, subscriptions(terms), terms.keys, terms.delay_s, terms.sources)


def check(terms: Terms) -> None:
    """Raise ConfigError for a zone that names a key that there is not."""
    named = [key for grants in _policy(terms).grants.values() for _, key in grants]
    named += [subscription.target.key for subscription in subscriptions(terms)]
    for key in named:
        if key is not None and key not in terms.keys:
            raise ConfigError(f"dnsbl.zone: there is no [[dnsbl.key]] with the name {b'.'.join(key).decode()}")


def subscriptions(terms: Terms) -> list[Subscription]:
    """Return who is told of which zone."""
    return [Subscription(to_labels(spec.name), parse_target(text)) for spec in terms.specs for text in spec.also_notify]


def _policy(terms: Terms) -> Policy:
    return Policy({labels: tuple(map(parse_grant, words)) for labels, words in _grants(terms.specs)}, terms.keys)


def _grants(specs: Iterable[ZoneSpec]) -> Iterable[tuple[Labels, tuple[str, ...]]]:
    return ((to_labels(spec.name), spec.transfer) for spec in specs)
