"""Bound sockets: what a dead process left is replaced, what lives or is no socket stays, errors name the setting."""

import os
import socket
from pathlib import Path

import pytest

from spamcannibal.addr import parse_addr
from spamcannibal.errors import ConfigError, Unsupported
from spamcannibal.sockets import bind, bind_local, owner_of, shown


def test_until_it_listens_whoever_comes_is_refused(tmp_path):
    path = str(tmp_path / "s")
    for sock, name in ((bind(parse_addr("::1"), 0, "x.listen"), None), (bind_local(path, "x.socket"), path)):
        with sock:
            assert shown(sock) == (name or f"[::1]:{sock.getsockname()[1]}")
            with socket.socket(sock.family) as client, pytest.raises(ConnectionRefusedError):
                client.connect(sock.getsockname())


def test_ipv4_and_ipv6_of_one_port_are_two_sockets():
    with bind(parse_addr("0.0.0.0"), 0, "x") as v4, bind(parse_addr("::"), v4.getsockname()[1], "x") as v6:
        assert v6.getsockname()[1] == v4.getsockname()[1]


def test_a_dead_socket_is_replaced_and_has_the_rights_it_should(tmp_path):
    path = str(tmp_path / "s")
    bind_local(path, "x", 0o600).close()
    with bind_local(path, "x", 0o640, (-1, os.getgid())) as sock:
        sock.listen()
        assert Path(path).stat().st_mode & 0o777 == 0o640
        with pytest.raises(Unsupported, match=r"x.socket: can't bind .*: somebody listens there already"):
            bind_local(path, "x.socket")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)


@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_what_is_no_socket_stays(tmp_path, what):
    path = tmp_path / "s"
    {"file": path.touch, "folder": path.mkdir, "link": lambda: path.symlink_to(tmp_path)}[what]()
    with pytest.raises(Unsupported, match=r"no socket; remove it, or name another path"):
        bind_local(str(path), "x")
    assert os.path.lexists(path)


def test_where_nobody_can_bind_is_said_with_the_setting(tmp_path):
    with pytest.raises(Unsupported, match=r"^x: can't bind /.*no/where: No such file"):
        bind_local(str(tmp_path / "no" / "where"), "x")
    with pytest.raises(Unsupported, match=r"^x: can't bind .*: AF_UNIX path too long"):
        bind_local(str(tmp_path / ("y" * 200)), "x")
    with bind(parse_addr("127.0.0.1"), 0, "x") as taken:
        taken.listen()
        with pytest.raises(Unsupported, match=r"^x.listen: can't bind 127.0.0.1:\d+: Address already in use"):
            bind(parse_addr("127.0.0.1"), taken.getsockname()[1], "x.listen")
    with pytest.raises(Unsupported, match=r"^x: can't bind \[2001:db8::1\]:1:"):
        bind(parse_addr("2001:db8::1"), 1, "x")


def test_an_owner_must_exist():
    assert owner_of("", "x.user") == (-1, -1)
    assert owner_of("root", "x.user") == (0, 0)
    with pytest.raises(ConfigError, match=r"x.user: no such user: 'nosuchuser'"):
        owner_of("nosuchuser", "x.user")
