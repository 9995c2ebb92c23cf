"""Finds a network namespace, and runs functions inside it on a thread of its own.

setns(2) moves one thread, not the process, and children of that thread are born where it is. So no helper process is
needed: a thread opens the sockets, runs ``nft``, later repairs the rules and opens upstream sockets, all without
further privileges, because it entered while it still had them; the server's own threads never leave their
namespace. A helper would have to be kept alive for the same work, or started anew with CAP_SYS_ADMIN for each socket.

This module does not know what is done inside. Called by ``inside``, which has the threads of an agent as well.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import logging
import os
import socket
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import ParamSpec, TypeVar

from msgspec import Struct

from resolver.attach.command import refuse_descriptors
from resolver.errors import AttachError

log = logging.getLogger(__name__)

IPAddress = IPv4Address | IPv6Address
_P = ParamSpec("_P")
_T = TypeVar("_T")

NAMED = (Path("/run/netns"), Path("/var/run/netns"))
PROC = Path("/proc")
SELF = "self"
"""What calls for the namespace that pydns runs in."""

_CLONE_NEWNET = 0x40000000
_RTF_UP, _RTF_GATEWAY, _RTF_REJECT = 0x1, 0x2, 0x200
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_IFREQ = struct.Struct("16sH22x")  # struct ifreq with its ifr_flags member


class Target(Struct, frozen=True):
    """A network namespace that exists."""

    path: Path
    """The file that stands for it."""
    label: str
    """How to call it in messages."""
    name: str | None = None
    """Its name, when it was given as one that ``ip netns`` knows."""
    pid: int | None = None
    """The process whose namespace it is, when it was given as one."""
    is_own: bool = False
    """True when it was asked for as the one that pydns runs in: nothing has to be entered."""


def locate(spec: str, *, proc: Path = PROC, named: Sequence[Path] = NAMED) -> Target:
    """The namespace that ``spec`` means: a path (it has a ``/``), a name known to ``ip netns``, a process id, `SELF`.

    A number is a process unless a namespace has that name, and so it is with `SELF`. AttachError when there is no such
    namespace, with names that are near.
    """
    if "/" in spec:
        if not os.path.exists(spec):
            raise AttachError(f"there is no network namespace at {spec}; give a NAME, a PATH or a PID that exists")
        return Target(Path(spec), spec)
    if spec not in ("", ".", ".."):
        for folder in named:
            if (folder / spec).exists():
                return Target(folder / spec, spec, name=spec)
    if spec == SELF:
        return Target(proc / "self/ns/net", SELF, is_own=True)
    if spec.isascii() and spec.isdigit():
        if not (proc / spec).exists():
            raise AttachError(
                f"there is no process {spec} and no network namespace of that name; `ip netns` lists names"
            )
        return Target(proc / spec / "ns/net", f"process {spec}", pid=int(spec))
    raise AttachError(f"there is no network namespace {spec!r}{_near(spec, named)}")


def _near(spec: str, named: Sequence[Path]) -> str:
    known = sorted({entry.name for folder in named if folder.is_dir() for entry in folder.iterdir()})
    if not known:
        return "; `ip netns` knows none, so give a PATH, a PID, or self"
    import difflib  # only for who has mistyped something

    near = difflib.get_close_matches(spec, known, n=3)
    return f"; did you mean {' or '.join(near)}?" if near else f"; there are {', '.join(known[:8])}"


class NamespaceThread:
    """One thread that has entered a network namespace and runs there what it is handed, one thing at a time."""

    def __init__(self, target: Target, purpose: str = "attach") -> None:
        """Enters at once; raises AttachError when the namespace cannot be entered."""
        # Never more than one worker, which lives until the end: every call runs on the thread that entered.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"pydns-{purpose}")
        try:
            self.call(_enter, target)
        except BaseException:
            self.close()
            raise

    def submit(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have ``function`` run inside the namespace, after all that was handed over before."""
        return self._executor.submit(function, *args, **kwargs)

    def call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run ``function`` inside the namespace and wait for what it returns or raises."""
        return self.submit(function, *args, **kwargs).result()

    def close(self) -> None:
        """Finish what was handed over and end the thread; what was opened in the namespace stays open."""
        self._executor.shutdown()


def identity() -> tuple[int, int]:
    """What tells this thread's namespace from every other, the same as `identity_at` a file that stands for it."""
    found = identity_at(PROC / "thread-self/ns/net")
    assert found is not None
    return found


def identity_at(path: Path) -> tuple[int, int] | None:
    """Device and inode of a namespace's file; None when there is none any more. Raises OSError when none can tell.

    `ip netns delete` takes the namespace off its name first and removes the name then: a plain file is none.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return (status.st_dev, status.st_ino) if status.st_dev == _device_of_namespaces() else None


@cache
def _device_of_namespaces() -> int:
    """All namespaces' files are of one file system, whatever name they are mounted on (namespaces(7))."""
    return os.stat(PROC / "self/ns/net").st_dev


def open_namespace(target: Target) -> int:
    """A descriptor that holds the namespace; raises AttachError when it cannot be opened."""
    try:
        return os.open(target.path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError as error:
        raise AttachError(
            f"the network namespace of {target.label} cannot be opened: "
            "needs CAP_SYS_PTRACE for another user's process; run as root"
        ) from error
    except OSError as error:
        refuse_descriptors(error)
        raise AttachError(f"the network namespace of {target.label} cannot be opened: {error.strerror}") from error


def move_thread(descriptor: int, target: Target) -> None:
    """Move the calling thread into the namespace; raises AttachError when it may not, or when it is none."""
    try:
        setns(descriptor)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise AttachError(
                f"the network namespace of {target.label} cannot be entered: needs CAP_SYS_ADMIN; run as root"
            ) from error
        raise AttachError(
            f"{target.path} is not a network namespace ({error.strerror}); a name whose namespace is gone is removed "
            "with `ip netns delete`"
        ) from error


def _enter(target: Target) -> None:
    if target.is_own:
        return
    descriptor = open_namespace(target)
    try:
        move_thread(descriptor, target)
    finally:
        os.close(descriptor)


def setns(descriptor: int) -> None:
    """Move the calling thread into the network namespace of the descriptor (setns(2)); raises OSError."""
    if hasattr(os, "setns"):  # Python 3.12
        os.setns(descriptor, _CLONE_NEWNET)
        return
    if _libc().setns(descriptor, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def bring_loopback_up() -> bool:
    """Bring ``lo`` up in this thread's namespace if it is down; True when it was down.

    A fresh ``ip netns add`` leaves it down, and then 127.0.0.11 is no address to bind.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _IFREQ.pack(b"lo", 0))
        flags: int = _IFREQ.unpack(answer)[1]
        if flags & _IFF_UP:
            return False
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, _IFREQ.pack(b"lo", flags | _IFF_UP))
    log.info("brought the loopback interface up, which was down in the network namespace")
    return True


def default_gateways(folder: Path = PROC / "thread-self/net") -> tuple[IPAddress, ...]:
    """The gateways of the default routes of this thread's namespace, IPv4 first, each family by rising metric.

    A link-local gateway keeps its interface as ``%scope``. Empty when there is none.
    """
    found: list[tuple[int, IPAddress]] = [
        # Iface Destination Gateway Flags RefCnt Use Metric Mask …, addresses in the machine's byte order
        (int(words[6]), IPv4Address(struct.pack("=I", int(words[2], 16))))
        for words in _table(folder / "route")[1:]
        if len(words) > 7 and words[1] == words[7] == "00000000" and _is_gateway(words[3])
    ]
    found.sort(key=lambda pair: pair[0])
    found6: list[tuple[int, IPAddress]] = []
    for words in _table(folder / "ipv6_route"):
        # destination length source length next-hop metric refcnt use flags device
        if len(words) > 9 and words[1] == "00" and _is_gateway(words[8]):
            address = IPv6Address(bytes.fromhex(words[4]))
            scoped = IPv6Address(f"{address}%{words[9]}") if address.is_link_local else address
            found6.append((int(words[5], 16), scoped))
    found6.sort(key=lambda pair: pair[0])
    return tuple(dict.fromkeys(address for _, address in found + found6))


def _is_gateway(flags: str) -> bool:
    return int(flags, 16) & (_RTF_UP | _RTF_GATEWAY | _RTF_REJECT) == _RTF_UP | _RTF_GATEWAY


def _table(path: Path) -> list[list[str]]:
    try:
        return [line.split() for line in path.read_text().splitlines()]
    except OSError:  # a kernel without IPv6 has no such file
        return []
