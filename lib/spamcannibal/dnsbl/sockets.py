"""Listening sockets of the DNS server: UDP and TCP for each address, and replies from the address that was asked.

A socket bound to all addresses (0.0.0.0, ::) learns with each datagram where it was sent to and answers from there,
since resolvers discard what comes from elsewhere; others leave that to the kernel.
"""

import contextlib
import errno
import socket
import struct

from spamcannibal.addr import format_addr, format_endpoint
from spamcannibal.errors import ConfigError, Unsupported

RECEIVE_BUFFER_BYTES = 4 << 20
BACKLOG = 256
PORT_TRIES = 16  # for port 0: TCP must get the port that UDP was given

IP_PKTINFO = 8  # <linux/in.h>; Python 3.11 does not name it
_PKTINFO_V4 = struct.Struct("=I4s4s")  # interface, our address, destination in the header
_PKTINFO_V6 = struct.Struct("=16sI")
ANCILLARY_BYTES = socket.CMSG_SPACE(_PKTINFO_V6.size)

Ancillary = list[tuple[int, int, bytes]]


def bind_pair(addr: bytes, port: int) -> tuple[socket.socket, socket.socket]:
    """Return the bound UDP and listening TCP sockets of an address; port 0 chooses one that both have.

    ConfigError if the host has no such address, Unsupported if the port is taken or not allowed.
    """
    for _ in range(PORT_TRIES if port == 0 else 1):
        udp = _bound(addr, port, socket.SOCK_DGRAM)
        try:
            return udp, _bound(addr, udp.getsockname()[1], socket.SOCK_STREAM)
        except Unsupported:
            udp.close()
            if port:
                raise
    raise Unsupported(f"dnsbl.listen: no port of {format_addr(addr)} is free for both UDP and TCP")


def reply_source(ancillary: Ancillary) -> Ancillary:
    """Return what makes a reply leave from the address that a datagram came to."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            _, ours, _ = _PKTINFO_V4.unpack_from(data)
            return [(level, kind, _PKTINFO_V4.pack(0, ours, bytes(4)))]
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            ours, interface = _PKTINFO_V6.unpack_from(data)
            is_link_local = ours[0] == 0xFE and ours[1] & 0xC0 == 0x80
            # Elsewhere routing chooses the way back, which need not be the way that the query came.
            return [(level, kind, _PKTINFO_V6.pack(ours, interface if is_link_local else 0))]
    return []


def _bound(addr: bytes, port: int, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_INET if len(addr) == 4 else socket.AF_INET6, kind)
    try:
        sock.setblocking(False)
        _set_options(sock, addr, kind)
        sock.bind((format_addr(addr), port))
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise _bind_error(error, format_endpoint(addr, port)) from None
    return sock


def _set_options(sock: socket.socket, addr: bytes, kind: socket.SocketKind) -> None:
    is_wildcard = not any(addr)
    if len(addr) == 16:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    if is_wildcard and len(addr) == 4:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    elif is_wildcard:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)


def _bind_error(error: OSError, endpoint: str) -> ConfigError | Unsupported:
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(f"dnsbl.listen: this host has no address {endpoint}")
    if error.errno == errno.EADDRINUSE:
        return Unsupported(f"dnsbl.listen: {endpoint} is in use by another server (see ss -lpn)")
    if error.errno == errno.EACCES:
        return Unsupported(f"dnsbl.listen: no right to {endpoint}; start as root or with CAP_NET_BIND_SERVICE")
    return Unsupported(f"dnsbl.listen: can't listen on {endpoint}: {error.strerror}")
