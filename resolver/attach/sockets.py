"""Opens what lives in the namespace: the two sockets at 127.0.0.11, the lock beside them, upstream sockets.

Each function acts in the namespace of the calling thread; the sockets stay there, whoever uses them later.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Container
from pathlib import Path

from resolver.attach.command import refuse_descriptors
from resolver.attach.plan import ADDRESS, Redirect
from resolver.errors import AttachError

_DNS_PORT = 53
_UDP_TABLE = Path("/proc/thread-self/net/udp")
_BACKLOG = 512
_RECEIVE_BUFFER = 1 << 20
"""Octets that wait in the UDP socket while the process does something else."""
_UCRED = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)


class Taken(AttachError):
    """Somebody holds the lock of the namespace."""


def open_listeners(preferred: Redirect | None = None) -> tuple[socket.socket, socket.socket]:
    """A UDP and a listening TCP socket on 127.0.0.11, non-blocking, on ports that the kernel chooses.

    ``preferred`` ports (those of a run that was killed) are taken if they are free: what clients have under way
    then reaches the new run. Raises AttachError when the address cannot be bound.
    """
    udp = _open(socket.SOCK_DGRAM, preferred.udp_port if preferred else 0)
    try:
        return udp, _open(socket.SOCK_STREAM, preferred.tcp_port if preferred else 0)
    except BaseException:
        udp.close()
        raise


def _open(kind: socket.SocketKind, port: int) -> socket.socket:
    try:
        opened = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        refuse_descriptors(error)
        raise
    try:
        if kind == socket.SOCK_STREAM:
            # Connections of a killed run linger; for UDP the option would let a second program share the port.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        _bind(opened, port)
        if kind == socket.SOCK_STREAM:
            opened.listen(_BACKLOG)
    except OSError as error:
        opened.close()
        raise AttachError(
            f"{ADDRESS} cannot be bound in the network namespace: {error.strerror}; "
            "its loopback interface must be up and hold 127.0.0.0/8"
        ) from error
    return opened


def _bind(opened: socket.socket, port: int) -> None:
    try:
        opened.bind((ADDRESS, port))
    except OSError as error:
        if not port or error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        opened.bind((ADDRESS, 0))


def servers_there(ports: Container[int] = (), table: Path = _UDP_TABLE) -> bool:
    """True when somebody in this thread's namespace has a UDP server at 127.0.0.11, as Docker's resolver, or at :53.

    ``ports`` are our own. The kernel's list of sockets costs less than any command (proc_net_udp).
    """
    address = f"{struct.unpack('=I', socket.inet_aton(ADDRESS))[0]:08X}"
    for line in table.read_text().splitlines()[1:]:
        _, local, remote, *_ = line.split()
        host, _, port = local.partition(":")
        number = int(port, 16)
        reaches = host == address or (host == "00000000" and number == _DNS_PORT)
        if reaches and remote.endswith(":0000") and number not in ports:
            return True
    return False


def take_lock(name: str = f"pydns-{ADDRESS}") -> socket.socket:
    """A lock held for as long as the returned socket is open, by one process of the namespace at a time.

    It is a listening unix socket with an abstract name: such names belong to a network namespace and vanish with
    their process, even a killed one. Taken, with the holder's process id, when it is taken. Any program of the
    namespace can take it, and keep us out of its own namespace that way; then it is named.
    """
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        lock.bind(f"\0{name}")
        lock.listen(_BACKLOG)  # so that others can connect, and learn from the kernel who listens
    except OSError as error:
        lock.close()
        if error.errno != errno.EADDRINUSE:
            raise AttachError(f"the lock {name} cannot be taken: {error.strerror}") from error
        raise Taken(_holder(name)) from error
    return lock


def _holder(name: str) -> str:
    """Who has the lock, as a message; the kernel tells who called listen(2) (SO_PEERCRED of unix(7))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as asking:
        try:
            asking.connect(f"\0{name}")
            credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        except OSError:
            return _served("its process is not known")
    pid, uid, _ = _UCRED.unpack(credentials)
    who = f"pid {pid}" if pid else "its process is outside this pid namespace"
    if uid in (0, os.geteuid()):
        return _served(who)
    return (
        f"a program that is not pydns holds the lock {name} of this network namespace (uid {uid}, {who}); "
        "it is tried again, and works when that program has ended"
    )


def _served(by: str) -> str:
    return f"another pydns already serves {ADDRESS} in this network namespace ({by}); stop it first"


def open_upstream(family: int, kind: int) -> socket.socket:
    """A new non-blocking socket in the namespace, for one exchange with an upstream; raises OSError."""
    return socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
