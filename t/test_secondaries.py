"""What the settings agree with secondaries: who may transfer, who is told, and by which keys."""

import base64

import pytest

from spamcannibal.checks import is_grant, is_target
from spamcannibal.commands.dnsbl_serve import _secret
from spamcannibal.dnsbl.access import Target, is_granted, keys_named, parse_grant, parse_target
from spamcannibal.dnsbl.secondaries import Terms, check, subscriptions
from spamcannibal.dnsbl.tsig import Key
from spamcannibal.dnsbl.zone import ZoneSpec
from spamcannibal.errors import ConfigError

KEY = Key((b"ns2",), "hmac-sha256", b"0123456789abcdef")
V4, V6 = bytes((192, 0, 2, 7)), bytes.fromhex("20010db8000000000000000000000007")


@pytest.mark.parametrize(
    ("words", "addr", "key", "allowed"),
    [
        ((), V4, KEY.name, False),
        (("192.0.2.0/24",), V4, None, True),
        (("192.0.2.7",), V4, None, True),
        (("192.0.2.0/25",), bytes((192, 0, 2, 200)), KEY.name, False),
        (("0.0.0.0/0",), V6, None, False),
        (("2001:db8::/32",), V6, None, True),
        (("key:ns2",), V6, KEY.name, True),
        (("key:NS2",), V6, KEY.name, True),
        (("key:ns2",), V6, None, False),
        (("key:ns2",), V6, (b"ns3",), False),
        (("192.0.2.0/24 key:ns2",), V4, None, False),
        (("192.0.2.0/24 key:ns2",), V4, KEY.name, True),
        (("192.0.2.0/24 key:ns2",), V6, KEY.name, False),
        (("10.0.0.0/8", "key:ns2"), V4, KEY.name, True),
    ],
)
def test_who_may_transfer(words, addr, key, allowed):
    assert all(map(is_grant, words))
    assert is_granted(map(parse_grant, words), addr, key) == allowed


@pytest.mark.parametrize(
    "text", ["", "192.0.2.1/24", "key:", "keyns2", "key:a b", "192.0.2.0/24key:ns2", "ns2", "key:a key:b"]
)
def test_what_is_no_grant(text):
    assert not is_grant(text)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("192.0.2.7", Target(V4, 53, None)),
        ("192.0.2.7:5353", Target(V4, 5353, None)),
        ("2001:db8::7", Target(V6, 53, None)),
        ("[2001:db8::7]:5353 key:ns2", Target(V6, 5353, KEY.name)),
        ("192.0.2.7 key:ns2", Target(V4, 53, KEY.name)),
    ],
)
def test_who_is_told(text, target):
    assert is_target(text) and parse_target(text) == target


@pytest.mark.parametrize(
    "text", ["", "key:ns2", "192.0.2.0/24", "ns2.example", "192.0.2.7:0x", "192.0.2.7 key:", "192.0.2.7 53"]
)
def test_what_is_no_target(text):
    assert not is_target(text)


def terms(*specs, keys=(KEY,)):
    return Terms(specs, keys_named(keys), 1.0, (), 8)


def test_each_zone_has_its_own_secondaries():
    one = ZoneSpec("one.example", also_notify=("192.0.2.7", "2001:db8::7 key:ns2"))
    other = ZoneSpec("other.example", transfer=("key:ns2",))
    told = subscriptions(terms(one, other))
    assert [(who.zone[0], who.target.addr) for who in told] == [(b"one", V4), (b"one", V6)]
    check(terms(one, other))


@pytest.mark.parametrize("field", ["transfer", "also_notify"])
def test_a_key_that_is_missing_is_named(field):
    zone = ZoneSpec("one.example", **{field: ("192.0.2.7 key:ns9",)})
    with pytest.raises(ConfigError, match="ns9"):
        check(terms(zone))


@pytest.mark.parametrize(
    "keys", [(KEY, KEY._replace()), (KEY._replace(algorithm="md5"),), (KEY._replace(secret=b"short"),)]
)
def test_keys_that_cannot_be_used(keys):
    with pytest.raises(ConfigError, match="ns2"):
        keys_named(keys)


def test_a_secret_is_read_from_a_file_of_its_own(tmp_path):
    path = tmp_path / "secret"
    with pytest.raises(ConfigError, match="can't read"):
        _secret(path)
    path.write_text(base64.b64encode(KEY.secret).decode() + "\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="everybody"):
        _secret(path)
    path.chmod(0o640)
    assert _secret(path) == KEY.secret
    path.write_text("not base64!")
    with pytest.raises(ConfigError, match="base64"):
        _secret(path)
