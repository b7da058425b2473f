"""What is published follows the store: whole, with texts, and quickly enough beside a busy writer."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dnsbl_peers import ZONE, question
from spamcannibal.addr import parse_key
from spamcannibal.dnsbl import publisher as publishers
from spamcannibal.dnsbl.answer import answer
from spamcannibal.dnsbl.publisher import STEP, STEPS_LIMIT, Publisher
from spamcannibal.dnsbl.zone import ZoneSpec
from spamcannibal.record import PUBLISHED
from spamcannibal.store.stores import BATCH_LIMIT, NewListing, Store
from storekit import open_store

NOW = 1_700_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(tmp_path / "store")) as made:
        yield made


@pytest.fixture
def publisher(store: Store) -> Iterator[Publisher]:
    with closing(Publisher(store, [ZoneSpec(ZONE)])) as made:
        made.load()
        yield made


def add(store: Store, count: int, first: int = 0) -> None:
    keys = [(0x0A000000 + number).to_bytes(4, "big") for number in range(first, first + count)]
    for at in range(0, count, 1000):
        some = [NewListing(key, text="t", source="admin:test", flags=PUBLISHED) for key in keys[at : at + 1000]]
        store.list(some, NOW)


def test_who_is_behind_takes_ever_more_at_once_and_then_little_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy writer lets others in once a transaction: taking less than that at a time, we would never catch up."""
    monkeypatch.setattr(publishers, "STEP", 10)
    monkeypatch.setattr(publishers, "STEPS_LIMIT", 40)
    with closing(Publisher(store, [ZoneSpec(ZONE)])) as publisher:
        publisher.load()
        add(store, 120)
        steps = []
        while step := publisher.follow():
            steps.append(step)
        assert steps == [10, 20, 40, 40, 10]
        assert (publisher.seq, publisher.entries) == (store.last_seq(), 120)
        add(store, 11, 120)
        assert [publisher.follow(), publisher.follow(), publisher.follow()] == [10, 1, 0]


def test_what_is_taken_at_once_is_more_than_a_transaction_has() -> None:
    assert STEPS_LIMIT > BATCH_LIMIT > STEP


def test_a_text_that_changes_is_known_with_its_change(store: Store, publisher: Publisher) -> None:
    key = parse_key("192.0.2.1")
    for text in ("first", "second"):
        store.list([NewListing(key, text=text, source="admin:test", flags=PUBLISHED)], NOW)
        publisher.follow()
        reply = answer(question(f"1.2.0.192.{ZONE}", "TXT"), publisher.view)
        assert isinstance(reply, bytes) and text.encode() in reply


def test_zones_of_another_kind_are_read_from_the_store(store: Store, publisher: Publisher) -> None:
    add(store, 3)
    publisher.follow()
    publisher.adopt([ZoneSpec(ZONE), ZoneSpec("all.example.org", promiscuous=True)])
    assert publisher.entries == 3 and len(publisher.view.listings) == 2
