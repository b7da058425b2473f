"""Listening sockets of the DNS server: UDP and TCP for each address.

A socket bound to all addresses (0.0.0.0, ::) learns with each datagram where it was sent to, so that the loop in C can
answer from there, since resolvers discard what comes from elsewhere; others leave that to the kernel.
"""

import contextlib
import errno
import os
import socket
from collections.abc import MutableMapping

from spamcannibal.addr import format_addr, format_endpoint, parse_addr
from spamcannibal.errors import ConfigError, Unsupported

RECEIVE_BUFFER_BYTES = 4 << 20
BACKLOG = 256
PORT_TRIES = 16  # for port 0: TCP must get the port that UDP was given

FIRST_FD = 3  # SD_LISTEN_FDS_START

IP_PKTINFO = 8  # <linux/in.h>, which Python 3.11 does not name
SO_RCVBUFFORCE = 33  # <asm-generic/socket.h>


def bind_group(addr: bytes, port: int, threads: int = 1) -> tuple[list[socket.socket], socket.socket]:
    """Return the bound UDP sockets, one a thread, and the listening TCP socket of an address; port 0 chooses one.

    The kernel gives each UDP client to one of the sockets. ConfigError if the host has no such address, Unsupported if
    the port is taken or not allowed.
    """
    for _ in range(PORT_TRIES if port == 0 else 1):
        with contextlib.ExitStack() as bound:
            udp = [bound.enter_context(_bound(addr, port, socket.SOCK_DGRAM, threads > 1))]
            chosen = udp[0].getsockname()[1]
            try:
                tcp = bound.enter_context(_bound(addr, chosen, socket.SOCK_STREAM))
            except Unsupported:  # TCP is never shared: another server has the port, whoever may share UDP with it
                if port:
                    raise
                continue
            udp += [bound.enter_context(_bound(addr, chosen, socket.SOCK_DGRAM, True)) for _ in range(1, threads)]
            bound.pop_all()
            return udp, tcp
    raise Unsupported(f"dnsbl.listen: no port of {format_addr(addr)} is free for both UDP and TCP")


def bind_stream(addr: bytes, port: int) -> socket.socket:
    """Return a listening TCP socket; errors as of bind_group."""
    return _bound(addr, port, socket.SOCK_STREAM)


def activated(env: MutableMapping[str, str]) -> tuple[list[socket.socket], list[socket.socket]] | None:
    """Return the bound UDP and listening TCP sockets that systemd made for us (sd_listen_fds(3)), None if it made none.

    They are ours once: what tells of them is removed, so that no child takes them for its own.
    """
    meant, count = env.get("LISTEN_PID"), env.get("LISTEN_FDS", "")
    if meant != str(os.getpid()) or not count.isdigit() or int(count) == 0:
        return None
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        env.pop(name, None)
    udp, tcp = [], []
    for fd in range(FIRST_FD, FIRST_FD + int(count)):
        try:
            sock = socket.socket(fileno=fd)
            kind = sock.type
        except OSError as error:
            raise ConfigError(f"socket activation: descriptor {fd} is no socket: {error.strerror}") from None
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            raise ConfigError(f"socket activation: descriptor {fd} is no internet socket")
        os.set_inheritable(fd, False)
        sock.setblocking(False)
        if kind == socket.SOCK_DGRAM:
            _tell_destination(sock, parse_addr(sock.getsockname()[0].partition("%")[0]))
            udp.append(sock)
        else:
            tcp.append(sock)
    if not udp:
        raise ConfigError("socket activation: got no UDP socket, want ListenDatagram= beside ListenStream=")
    return udp, tcp


def _bound(addr: bytes, port: int, kind: socket.SocketKind, is_shared: bool = False) -> socket.socket:
    sock = socket.socket(socket.AF_INET if len(addr) == 4 else socket.AF_INET6, kind)
    try:
        sock.setblocking(False)
        _set_options(sock, addr, kind)
        if is_shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((format_addr(addr), port))
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise _bind_error(error, format_endpoint(addr, port)) from None
    return sock


def _set_options(sock: socket.socket, addr: bytes, kind: socket.SocketKind) -> None:
    if len(addr) == 16:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return
    for option in (socket.SO_RCVBUF, SO_RCVBUFFORCE):  # the second beyond the host's limit, with CAP_NET_ADMIN
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER_BYTES)
    _tell_destination(sock, addr)


def _tell_destination(sock: socket.socket, addr: bytes) -> None:
    """Make a socket bound to all addresses say where each datagram was sent to."""
    if any(addr):
        return
    if len(addr) == 4:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)


def _bind_error(error: OSError, endpoint: str) -> ConfigError | Unsupported:
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(f"dnsbl.listen: this host has no address {endpoint}")
    if error.errno == errno.EADDRINUSE:
        return Unsupported(f"dnsbl.listen: {endpoint} is in use by another server (see ss -lpn)")
    if error.errno == errno.EACCES:
        return Unsupported(f"dnsbl.listen: no right to {endpoint}; start as root or with CAP_NET_BIND_SERVICE")
    return Unsupported(f"dnsbl.listen: can't listen on {endpoint}: {error.strerror}")
