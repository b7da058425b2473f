"""Listings and shadows apart: a shadow hides nothing, and a key is in one of the two tables whatever came before."""

from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.record import EXCLUDED, PROVEN_CODE, PUBLISHED, SHADOW, table_value
from spamcannibal.tables import Tables

KEYS = st.sampled_from([parse_key(text) for text in ("192.0.2.0/24", "192.0.2.7", "192.0.2.8/29", "2001:db8::/64")])
VALUES = st.sampled_from([table_value(PROVEN_CODE, 0, flags) for flags in (PUBLISHED, EXCLUDED, SHADOW)])


def test_a_shadow_hides_no_network_around_it() -> None:
    tables = Tables()
    tables.set(parse_key("192.0.2.0/24"), table_value(PROVEN_CODE, 0, PUBLISHED))
    tables.set(parse_key("192.0.2.7"), table_value(PROVEN_CODE, 0, PUBLISHED | SHADOW))
    assert tables.listings.match(parse_addr("192.0.2.7")) == (24, table_value(PROVEN_CODE, 0, PUBLISHED))
    assert tables.shadows.match(parse_addr("192.0.2.8")) is None


@given(st.lists(st.tuples(KEYS, st.one_of(st.none(), VALUES))), st.lists(st.tuples(KEYS, VALUES)))
def test_it_holds_what_was_last_said(changes: list[tuple[bytes, int | None]], load: list[tuple[bytes, int]]) -> None:
    tables, wanted = Tables(), dict[bytes, int]()
    for key, value in changes:
        if value is None:
            assert tables.discard(key) == (wanted.pop(key, None) is not None)
        else:
            tables.set(key, value)
            wanted[key] = value
    pairs = list(dict(load).items())
    assert tables.load(pairs) == len(pairs)
    wanted.update(pairs)
    assert dict(tables.items()) == wanted and len(tables) == len(wanted)
