"""The rules of removal: which way a request may go, what the terms allow, and that tokens prove what they are for."""

import contextlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal import removal
from spamcannibal.addr import format_key, listing_key, make_key, mask, parse_addr, parse_key
from spamcannibal.checks import is_contact, is_name
from spamcannibal.record import EXCLUDED, PUBLISHED, SHADOW
from spamcannibal.removal import DAY_S, MOVES, Case, Request, Terms, decide
from spamcannibal.web.spelling import read_addr, read_key

NOW = 1_800_000_000.0
ADDR = parse_addr("203.0.113.7")
V6 = parse_addr("2001:db8:1:2::7")
TERMS = Terms()
GOOD = {"addr": ADDR, "key": ADDR, "seq": 1, "kind": "trap", "flags": PUBLISHED, "names": ("mail.example.com",)}


def case(**keys):
    return Case(**{**GOOD, "listed_s": NOW - 30 * DAY_S, "proof_s": NOW - 30 * DAY_S, **keys})


def test_what_meets_the_terms_is_removed():
    assert decide(case(), TERMS, NOW) == ("removed", (), 0.0)
    v6 = case(addr=V6, key=listing_key(V6))
    assert decide(v6, TERMS, NOW).state == "removed"


@pytest.mark.parametrize(
    ("changed", "terms", "state", "word"),
    [
        (None, {}, "closed", "not listed"),
        ({"flags": PUBLISHED | EXCLUDED}, {}, "closed", "refuses nobody"),
        ({"flags": PUBLISHED | SHADOW}, {}, "closed", "refuses nobody"),
        ({"zones": ("zen.example.org",)}, {}, "closed", "zen.example.org"),
        ({}, {"automatic": False}, "queued", "operator decides"),
        ({"kind": "admin"}, {}, "queued", "operator decides"),
        ({"key": parse_key("203.0.113.0/24")}, {}, "queued", "whole network 203.0.113.0/24"),
        ({"addr": V6, "key": V6}, {}, "queued", "network"),
        ({}, {"manual": (parse_key("203.0.0.0/16"),)}, "queued", "this network"),
        ({"removals": (1.0, 2.0, 3.0)}, {}, "queued", "3 times"),
        ({"refused_s": NOW - DAY_S}, {}, "queued", "refused an earlier"),
        ({"proof_s": NOW - DAY_S}, {}, "queued", "too new"),
        ({"removals": (1.0,), "listed_s": NOW - 6 * DAY_S}, {}, "queued", "listed again"),
        ({"names": ()}, {}, "queued", "reverse DNS"),
        ({"names": None}, {}, "queued", "not known now"),
    ],
)
def test_what_does_not_goes_where_it_should_and_says_why(changed, terms, state, word):
    verdict = decide(None if changed is None else case(**changed), Terms(**terms), NOW)
    assert verdict.state == state
    assert word in " ".join(verdict.why)


# Each differs from what would be removed in some ways only, so that there are some of both.
cases = st.fixed_dictionaries(
    {},
    optional={
        "addr": st.just(V6),
        "key": st.sampled_from([ADDR, V6, listing_key(V6), parse_key("203.0.113.0/24")]),
        "kind": st.sampled_from(["robot", "gather", "admin", "blcheck", ""]),
        "flags": st.integers(0, 7),
        "zones": st.sampled_from([(), ("a.example",)]),
        "listed_s": st.floats(NOW - 1e8, NOW),
        "proof_s": st.floats(NOW - 1e8, NOW),
        "removals": st.lists(st.floats(0, NOW), max_size=5).map(tuple),
        "refused_s": st.floats(NOW - 1e8, NOW),
        "names": st.sampled_from([None, (), ("mx.example.org",)]),
    },
).map(lambda changes: case(**changes))


@given(cases)
def test_nothing_is_removed_that_any_term_speaks_against(one):
    if decide(one, TERMS, NOW).state != "removed":
        return
    assert not one.flags & (EXCLUDED | SHADOW)
    assert not one.zones
    assert one.kind in TERMS.kinds
    assert one.key == listing_key(one.addr)
    assert one.names
    assert NOW - one.proof_s >= TERMS.quiet_s
    assert len(one.removals) < TERMS.removals
    assert not one.removals or NOW - one.listed_s >= TERMS.cooldown_s * 2 ** (len(one.removals) - 1)


@given(cases)
def test_who_waits_till_he_is_told_to_is_removed_then(one):
    verdict = decide(one, TERMS, NOW)
    if not verdict.again_s:
        return
    named = Case(**{**one.__dict__, "names": ("mail.example.com",)})
    assert verdict.again_s > NOW
    assert decide(named, TERMS, verdict.again_s).state == "removed"


@given(st.integers(1, 20), st.floats(1, 1e7), st.floats(1, 1e7))
def test_the_cool_down_grows_with_each_removal_and_has_an_end(count, cooldown_s, limit_s):
    terms = Terms(cooldown_s=cooldown_s, cooldown_limit_s=limit_s)
    waits = [removal.cooldown_until_s(case(listed_s=0.0, removals=(1.0,) * n), terms) for n in range(1, count + 1)]
    assert waits == sorted(waits)
    assert waits[-1] <= limit_s
    assert removal.cooldown_until_s(case(), terms) == 0.0


@given(st.lists(st.sampled_from(sorted(MOVES)), max_size=20))
def test_a_request_never_leaves_an_end_and_is_never_removed_unproven(steps):
    request = Request("203.0.113.7", "203.0.113.7", "dns", 1)
    path = ["asked"]
    for state in steps:
        if removal.may_move(request, state):
            request = Request("203.0.113.7", "203.0.113.7", "dns", 1, state)
            path.append(state)
    assert "removed" not in path or path[1] == "proven"
    assert all(path[n] in removal.OPEN for n in range(len(path) - 1))


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_handle_proves_its_own_request_only(one, other):
    value = removal.dns_value(one)
    assert removal.is_published(one, ["v=spf1 -all", f" {value} "])
    assert removal.is_published(other, [value]) is (one == other)
    assert one not in value or len(one) < 8
    request = Request("203.0.113.7", "203.0.113.7", "mail", 1, proof=removal.proof_of(one))
    assert removal.is_proof(request, other) is (one == other)
    assert not removal.is_proof(Request("203.0.113.7", "203.0.113.7", "dns", 1), "")
    assert len({removal.id_of(one), value, removal.proof_of(one)}) == 3


@given(st.lists(st.text(max_size=80) | st.text(string.ascii_letters + ".-_0123456789", max_size=80), max_size=6))
def test_whatever_reverse_dns_says_we_write_to_addresses_of_domains_only(names):
    for address in removal.role_addresses(names):
        assert is_contact(address)
        assert not address.endswith((".arpa", ".local", "localhost"))
    found = removal.dns_names(ADDR, names)
    assert found[0] == "_spamcannibal.7.113.0.203.in-addr.arpa"
    assert len(found) <= 1 + removal.DOMAINS_LIMIT
    assert all(map(is_name, found))


def test_who_answers_for_a_name_is_asked_at_its_domains():
    found = removal.role_addresses(["mx1.mail.example.com"])
    assert found[:2] == ("postmaster@mx1.mail.example.com", "abuse@mx1.mail.example.com")
    assert "postmaster@example.com" in found
    assert "postmaster@com" not in found
    assert not removal.role_addresses(["localhost", "192.0.2.7", "7.2.0.192.in-addr.arpa", "a..b"])
    assert removal.dns_names(V6, [])[0].endswith("8.b.d.0.1.0.0.2.ip6.arpa")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (" 203.0.113.7\t", "203.0.113.7"),
        ("203-0-113-7", "203.0.113.7"),
        ("[2001:DB8::7]", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("203.0.113.7/24", "203.0.113.0/24"),
        ("203.0.113.7/32", "203.0.113.7"),
        ("2001:db8::7/64", "2001:db8::/64"),
        ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_every_spelling_leads_to_one(text, wanted):
    assert format_key(read_key(text)) == wanted


@pytest.mark.parametrize(
    "text", ["", "example.com", "1.2.3", "010.0.0.1", "1.2.3.4/33", "::1/129", "1.2.3.4/x", "1.2.3.4/-1", "../x"]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match=r"not a|wrong prefix"):
        read_key(text)


def test_a_network_is_no_address():
    with pytest.raises(ValueError, match="one address"):
        read_addr("203.0.113.0/24")


@given(st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16), st.integers(0, 128))
def test_the_one_spelling_stays(addr, plen):
    plen = min(plen, len(addr) * 8)
    key = parse_key(format_key(make_key(mask(addr, plen), plen)))
    assert read_key(format_key(key)) == key


@given(st.text())
def test_no_text_is_more_than_refused(text):
    with contextlib.suppress(ValueError):
        read_key(text)
