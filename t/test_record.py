"""Record layouts: what goes in comes out, damage is one StoreError, the state word is what the C tables want."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal import layout, record
from spamcannibal.errors import StoreError
from spamcannibal.record import Action, Cause, Change, Checked, Contact, Contrib, Hits, Listing, Mode, Piece, Tally

u64 = st.integers(0, 2**64 - 1)
codes = st.binary(min_size=3, max_size=3).map(lambda tail: b"\x7f" + tail)
texts = st.text(st.characters(codec="utf-8"), max_size=60)
modes = st.sampled_from(Mode)
flags = st.integers(0, 7)
keys = st.one_of(*(st.binary(min_size=n, max_size=n) for n in (4, 5, 16, 17)))
listings = st.builds(Listing, codes, modes, flags, u64, u64, u64, u64)
contacts = st.builds(Contact, st.integers(0, 2**32 - 1), u64, u64)
v4 = st.binary(min_size=4, max_size=4)
causes = st.builds(Cause, texts, v4, st.sampled_from((b"", bytes(4), bytes(range(16)))), texts)
contribs = st.builds(Contrib, codes, u64, st.lists(causes, max_size=4).map(tuple))
checked = st.builds(Checked, u64, st.integers(0, 2**16 - 1))
hits = st.builds(Hits, u64, u64, u64, u64, st.dictionaries(texts, u64, max_size=5))
pieces = st.lists(st.builds(Piece, u64, texts, st.binary(max_size=200)), max_size=5)
changes = st.builds(Change, u64, u64, st.sampled_from(Action), keys, codes, texts, texts, u64, flags, modes)
tallies = st.builds(
    Tally, u64, u64, u64, u64, *(st.lists(st.integers(0, 2**32 - 1), min_size=n, max_size=n) for n in (33, 129))
)

CODECS = {
    "listing": (listings, layout.pack_listing, layout.unpack_listing),
    "contact": (contacts, layout.pack_contact, layout.unpack_contact),
    "contrib": (contribs, layout.pack_contrib, layout.unpack_contrib),
    "evidence": (pieces, layout.pack_evidence, layout.unpack_evidence),
    "change": (changes, layout.pack_change, lambda data: layout.unpack_change(7, data)),
    "checked": (checked, layout.pack_checked, layout.unpack_checked),
    "hits": (hits, layout.pack_hits, layout.unpack_hits),
    "tally": (tallies, layout.pack_tally, layout.unpack_tally),
    "removed": (
        st.tuples(contribs | st.none(), pieces.filter(bool) | st.just([])),
        lambda pair: layout.pack_removed(
            layout.pack_contrib(pair[0]) if pair[0] else None, layout.pack_evidence(pair[1]) if pair[1] else None
        ),
        layout.unpack_removed,
    ),
}


@pytest.mark.parametrize("name", CODECS)
@given(data=st.data())
def test_values_round_trip(name, data):
    values, pack, unpack = CODECS[name]
    value = data.draw(values)
    if name == "change":
        value = record.Change(7, *(getattr(value, field) for field in value.__struct_fields__[1:]))
    assert unpack(pack(value)) == value


@pytest.mark.parametrize("name", CODECS)
@given(data=st.data())
def test_a_value_cut_anywhere_or_with_bytes_after_it_is_a_store_error(name, data):
    values, pack, unpack = CODECS[name]
    whole = pack(data.draw(values))
    cut = data.draw(st.integers(0, len(whole) - 1))
    for damaged in (whole[:cut], whole + b"\x00"):
        with pytest.raises(StoreError):
            unpack(damaged)


@pytest.mark.parametrize("name", CODECS)
@given(junk=st.binary(max_size=80))
def test_junk_is_a_value_or_a_store_error(name, junk):
    for data in (junk, b"\x01" + junk, b"\x02" + junk):
        with contextlib.suppress(StoreError):
            CODECS[name][2](data)


def test_a_record_of_another_version_says_so():
    with pytest.raises(StoreError, match="record version: got 2, want 1"):
        layout.unpack_listing(b"\x02" + bytes(36))
    with pytest.raises(StoreError, match="blcontrib: record version: got 1, want 2"):
        layout.unpack_contrib(b"\x01" + bytes(36))


@given(listing=listings)
def test_the_state_of_a_listing_is_its_table_value(listing):
    value = record.table_value(listing.code, listing.mode, listing.flags)
    assert layout.listing_state(layout.pack_listing(listing)) == value != 0
    assert record.split_table_value(value) == (listing.code, listing.mode, listing.flags)


@given(listing=listings, contact_ms=u64)
def test_a_contact_only_moves_the_time_of_last_contact_and_only_forward(listing, contact_ms):
    data = layout.pack_listing(listing)
    want = msgspec.structs.replace(listing, contact_ms=max(listing.contact_ms, contact_ms))
    assert layout.unpack_listing(layout.with_contact(data, contact_ms)) == want


def test_table_value_has_the_documented_bits():
    value = record.table_value(bytes((127, 1, 2, 3)), Mode.STUTTER, record.PUBLISHED | record.SHADOW)
    assert value == 0x010203_00 | 1 << 6 | 1 << 4 | 3 << 1 | 1


def test_an_answer_code_outside_127_is_refused():
    with pytest.raises(StoreError, match=r"10\.0\.0\.5"):
        record.table_value(bytes((10, 0, 0, 5)), 0, 0)


@given(first=contacts, second=contacts)
def test_merging_contacts_adds_counts_and_widens_the_times(first, second):
    merged = layout.unpack_contact(
        layout.merge_contact(layout.pack_contact(first), second.count, second.first_ms, second.last_ms)
    )
    assert merged.count == min(first.count + second.count, 2**32 - 1)
    assert merged.first_ms == min(first.first_ms, second.first_ms)
    assert merged.last_ms == max(first.last_ms, second.last_ms)


def test_a_text_longer_than_its_length_field_is_refused():
    with pytest.raises(StoreError, match="65535"):
        layout.pack_evidence([Piece(1, "x" * 70000, b"")])


def test_tally_counts_by_family_and_length():
    tally = Tally.empty()
    for key in (bytes(4), bytes(4) + b"\x18", bytes(16), bytes(16) + b"\x40"):
        tally.count(key, 1)
    assert (tally.v4[32], tally.v4[24], tally.v6[128], tally.v6[64], tally.listings) == (1, 1, 1, 1, 4)
