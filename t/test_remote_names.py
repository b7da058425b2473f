"""Single questions to the DNS: what real answers over UDP and TCP become, and that all else is unknown."""

import dnslib
import pytest

from helpers.faulty_dns import (
    FaultyDns,
    answer,
    empty,
    formerr_to_edns,
    names,
    nodata,
    nxdomain,
    other_case,
    rcode,
    silence,
    truncated,
    wrong_id,
    wrong_question,
)
from spamcannibal.addr import parse_addr
from spamcannibal.remote.names import ANSWERS_LIMIT, Resolved
from spamcannibal.settings.remote import RemoteSettings

ADDR, REVERSE = parse_addr("192.0.2.7"), "7.2.0.192.in-addr.arpa"
ADDR6, REVERSE6 = parse_addr("2001:db8::1"), f"1.{'0.' * 23}8.b.d.0.1.0.0.2.ip6.arpa"
PATIENT_S, SHORT_S = 30.0, 0.3


@pytest.fixture(scope="module")
def dns():
    with FaultyDns() as server:
        yield server


def ask(*servers, wait_s=PATIENT_S):
    return Resolved(RemoteSettings(resolvers=tuple(server.endpoint for server in servers), retry_s=0.05), wait_s)


def records(qtype, *data):
    """Answer with records of that type, asked for whatever type."""
    return lambda asked: asked.send(asked.reply(*(asked.rr(each, qtype) for each in data)))


@pytest.mark.parametrize(
    ("deed", "found"),
    [
        (names("mail.example.org."), ("mail.example.org",)),
        (names("b.example.org.", "a.example.org."), ("b.example.org", "a.example.org")),
        (truncated(names("long.example.org.")), ("long.example.org",)),
        (nxdomain, ()),
        (nodata, ()),
    ],
    ids=["one", "two", "by TCP", "NXDOMAIN", "NODATA"],
)
def test_reverse_dns(dns, deed, found):
    dns.on(REVERSE, deed)
    assert ask(dns).pointers(ADDR) == found


def test_reverse_dns_of_ipv6_and_behind_an_alias(dns):
    alias = f"7.0-25.{REVERSE}"
    dns.on(
        REVERSE6,
        lambda asked: asked.send(
            asked.reply(
                asked.rr(dnslib.CNAME(alias), "CNAME"), asked.rr(dnslib.PTR("six.example.org"), "PTR", name=alias)
            )
        ),
    )
    assert ask(dns).pointers(ADDR6) == ("six.example.org",)


def test_a_name_of_odd_bytes_is_shown_as_text(dns):
    dns.on(REVERSE, names(dnslib.DNSLabel([b"<b>", "ü".encode(), b"a.b"])))
    assert ask(dns).pointers(ADDR) == ("\\060b\\062.\\195\\188.a\\046b",)


@pytest.mark.parametrize(
    "deed",
    [silence, rcode(2), rcode(5), empty, wrong_id, wrong_question],
    ids=["silence", "SERVFAIL", "REFUSED", "neither answer nor SOA", "another id", "another question"],
)
def test_what_does_not_answer_is_unknown(dns, deed):
    dns.on(REVERSE, deed)
    assert ask(dns, wait_s=SHORT_S).pointers(ADDR) is None


def test_an_answer_in_another_case_is_asked_for_again_by_tcp(dns):
    dns.on("host.example.org A", other_case)
    dns.on("host.example.org AAAA", nodata)
    assert ask(dns).addresses("host.example.org") == (parse_addr("127.0.0.2"),)


def test_a_server_that_does_not_know_edns_is_asked_without(dns):
    dns.on("old.example.org A", formerr_to_edns)
    dns.on("old.example.org AAAA", nodata)
    assert ask(dns).addresses("old.example.org") == (parse_addr("127.0.0.2"),)


@pytest.mark.parametrize("deed", [silence, rcode(2)], ids=["silent", "broken"])
def test_the_second_resolver_answers_where_the_first_does_not(dns, deed):
    dns.on(REVERSE, names("mail.example.org"))
    with FaultyDns() as first:
        first.on(REVERSE, deed)
        assert ask(first, dns).pointers(ADDR) == ("mail.example.org",)
    assert ask(first, dns).pointers(ADDR) == ("mail.example.org",)  # it is gone by now: its port is closed


def test_no_resolver_is_there():
    with FaultyDns() as gone:
        pass
    assert ask(gone, wait_s=SHORT_S).pointers(ADDR) is None


def test_addresses_are_of_both_families_and_unknown_if_one_is(dns):
    dns.on("both.example.org A", answer("192.0.2.1", "192.0.2.2"))
    dns.on("both.example.org AAAA", records("AAAA", dnslib.AAAA("2001:db8::1")))
    assert ask(dns).addresses("both.example.org") == tuple(map(parse_addr, ("192.0.2.1", "192.0.2.2", "2001:db8::1")))
    dns.on("both.example.org AAAA", rcode(2))
    assert ask(dns, wait_s=SHORT_S).addresses("both.example.org") is None


def test_an_address_of_the_wrong_length_is_none(dns):
    dns.on("odd.example.org A", nodata)
    dns.on("odd.example.org AAAA", records("AAAA", dnslib.RD(b"\1\2\3\4")))
    assert ask(dns).addresses("odd.example.org") == ()


def test_texts_are_joined_and_read_whatever_their_bytes(dns):
    dns.on("text.example.org", records("TXT", dnslib.TXT([b"one ", b"two"]), dnslib.TXT(b"\xff")))
    assert ask(dns).texts("text.example.org") == ("one two", "�")


def test_no_more_is_taken_than_pages_need(dns):
    dns.on("many.example.org", records("TXT", *(dnslib.TXT(f"{n}".encode()) for n in range(ANSWERS_LIMIT + 9))))
    assert len(ask(dns).texts("many.example.org")) == ANSWERS_LIMIT


@pytest.mark.parametrize("name", ["", ".", "a..b", "\\060b", "x" * 64, "a b", "ü.example.org", "a." * 200])
def test_what_is_no_name_is_not_asked_for(dns, name):
    before = len(dns.asked)
    assert (ask(dns).addresses(name), ask(dns).texts(name)) == ((), ())
    assert len(dns.asked) == before
