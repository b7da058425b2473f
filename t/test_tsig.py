"""TSIG against dnspython: what either signs the other accepts, and nothing else is accepted."""

from __future__ import annotations

import time

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.tsig
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.dnsbl import tsig, wire
from spamcannibal.dnsbl.tsig import ALGORITHMS, BADKEY, BADSIG, BADTIME, BADTRUNC, FUDGE_S, Key, Signer
from spamcannibal.errors import WireError

NOW = 0  # dnspython asks the clock itself, so ours is set anew for each test: the whole run takes longer than FUDGE_S
SECRET = b"a secret of thirty-two bytes ..."
KEY = Key((b"xfer", b"example"), "hmac-sha256", SECRET)
KEYS = {KEY.name: KEY}


@pytest.fixture(autouse=True)
def _now() -> None:
    global NOW
    NOW = int(time.time())


def signed_s(data: bytes) -> int:
    """When a message says that it was signed."""
    record = tsig.find(data)
    assert record is not None
    return record.time_s


def theirs(key: Key = KEY) -> dns.tsig.Key:
    return dns.tsig.Key(dns.name.from_text(b".".join(key.name).decode()), key.secret, key.algorithm)


def request(key: Key = KEY, name: str = "bl.example.org") -> tuple[bytes, dns.message.Message]:
    asked = dns.message.make_query(name, "SOA")
    asked.use_tsig(theirs(key))
    return asked.to_wire(), asked


def reply_to(message: bytes) -> bytes:
    return tsig.bare(message, 0)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_either_end_signs_the_other_accepts(algorithm: str) -> None:
    key = KEY._replace(algorithm=algorithm)
    data, asked = request(key)
    opened = tsig.open_request(data, {key.name: key}, NOW)
    assert opened is not None and not opened.is_refused and opened.key == key
    assert wire.read_query(opened.message).labels == (b"bl", b"example", b"org")
    signed = Signer(key, opened.mac).sign(reply_to(opened.message), NOW)
    assert len(signed) <= len(reply_to(opened.message)) + key.overhead_bytes
    reply = dns.message.from_wire(signed, keyring={theirs(key).name: theirs(key)}, request_mac=asked.mac)
    assert reply.had_tsig and asked.is_response(reply)
    assert tsig.is_authentic(signed, key, opened.mac, NOW)


def test_each_message_of_a_transfer_is_chained_to_the_one_before() -> None:
    data, asked = request()
    opened = tsig.open_request(data, KEYS, NOW)
    assert opened is not None
    signer = Signer(KEY, opened.mac)
    messages = [signer.sign(reply_to(opened.message), NOW + number) for number in range(4)]
    context = None
    for message in messages:
        options = {"keyring": theirs(), "request_mac": asked.mac, "multi": True, "tsig_ctx": context}
        context = dns.message.from_wire(message, **options).tsig_ctx
    with pytest.raises(dns.exception.DNSException):
        first = dns.message.from_wire(messages[0], keyring=theirs(), request_mac=asked.mac, multi=True)
        dns.message.from_wire(messages[2], keyring=theirs(), request_mac=asked.mac, multi=True, tsig_ctx=first.tsig_ctx)


@pytest.mark.parametrize(
    ("key", "skew_s", "error"),
    [
        (KEY, 0, 0),
        (KEY, FUDGE_S, 0),
        (KEY, -FUDGE_S, 0),
        (KEY, FUDGE_S + 1, BADTIME),
        (KEY, -FUDGE_S - 1, BADTIME),
        (KEY._replace(secret=b"another"), 0, BADSIG),
        (KEY._replace(secret=b"another"), 1000, BADSIG),
        (KEY._replace(name=(b"who",)), 0, BADKEY),
        (KEY._replace(algorithm="hmac-sha512"), 0, BADKEY),
    ],
)
def test_rfc8945_5_2_what_is_wrong_is_told(key: Key, skew_s: int, error: int) -> None:
    data, asked = request(key)
    now = signed_s(data) + skew_s
    opened = tsig.open_request(data, KEYS, now)
    assert opened is not None and opened.error == error
    if not error:
        return
    refused = tsig.refuse(opened, now)
    plain = dns.message.from_wire(refused, ignore_trailing=False, keyring=False)
    assert plain.rcode() == dns.rcode.NOTAUTH and plain.id == asked.id and plain.question == asked.question
    told = plain.tsig[0]
    assert told.error == error
    if error == BADTIME:
        assert told.mac and told.time_signed == now - skew_s and int.from_bytes(told.other, "big") == now
    else:
        assert not told.mac and not told.other


def test_rfc8945_5_2_2_1_a_mac_that_is_cut_short_is_refused() -> None:
    data, _ = request()
    record = tsig.find(data)
    assert record is not None
    for size, error in ((16, BADTRUNC), (31, BADTRUNC)):
        opened = tsig.open_request(with_mac(data, record.mac[:size]), KEYS, NOW)
        assert opened is not None and opened.error == error
    for size in (0, 9, 15):
        with pytest.raises(WireError):
            tsig.open_request(with_mac(data, record.mac[:size]), KEYS, NOW)
    with pytest.raises(WireError):
        tsig.open_request(with_mac(data, record.mac + b"\0"), KEYS, NOW)


def with_mac(data: bytes, mac: bytes) -> bytes:
    """The message with another MAC."""
    record = tsig.find(data)
    assert record is not None
    start = len(record.message)
    owner = wire.pack_name(record.name)
    rdata = wire.pack_name(record.algorithm) + record.time_s.to_bytes(6, "big") + record.fudge_s.to_bytes(2, "big")
    rdata += len(mac).to_bytes(2, "big") + mac + data[:2] + bytes(4)
    return data[:start] + owner + tsig.MARK + bytes(4) + len(rdata).to_bytes(2, "big") + rdata


@given(st.data())
def test_no_changed_bit_goes_unnoticed(draw: st.DataObject) -> None:
    data, _ = request()
    at = draw.draw(st.integers(16, len(data) * 8 - 1))  # the id is restored from the TSIG
    changed = bytearray(data)
    changed[at // 8] ^= 1 << at % 8
    try:
        opened = tsig.open_request(bytes(changed), KEYS, NOW)
    except WireError:
        return
    if opened is None or opened.is_refused:
        return
    # Letter case of the key's and the algorithm's names is not signed.
    assert opened.message == tsig.find(data).message


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(garbage: bytes) -> None:
    data, _ = request()
    for attempt in (garbage, garbage + tsig.MARK + garbage, data[: len(garbage)], data + garbage, garbage + data):
        try:
            opened = tsig.open_request(attempt, KEYS, NOW)
        except WireError:
            continue
        assert opened is None or opened.is_refused or attempt == data


def test_a_tsig_must_be_the_last_record_and_only_one() -> None:
    data, _ = request()
    record = tsig.find(data)
    assert record is not None
    twice = bytearray(data + data[len(record.message) :])
    twice[11] = 2
    with pytest.raises(WireError):
        tsig.open_request(bytes(twice), KEYS, NOW)
    assert tsig.open_request(record.message, KEYS, NOW) is None


def test_a_reply_without_the_key_is_not_authentic() -> None:
    data, _ = request()
    opened = tsig.open_request(data, KEYS, NOW)
    assert opened is not None
    reply = reply_to(opened.message)
    assert not tsig.is_authentic(reply, KEY, opened.mac, NOW)
    assert not tsig.is_authentic(Signer(KEY, b"other").sign(reply, NOW), KEY, opened.mac, NOW)
    assert not tsig.is_authentic(Signer(KEY, opened.mac).sign(reply, NOW), KEY, opened.mac, NOW + FUDGE_S + 1)
    assert tsig.is_authentic(Signer(KEY, opened.mac).sign(reply, NOW), KEY, opened.mac, NOW)
