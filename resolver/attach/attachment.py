"""One namespace that pydns answers for, from the first look to the last trace removed.

The order is what counts here. Nothing is changed before both sockets listen; rules come first and resolv.conf second,
so that nobody is sent to an address that does not answer; on the way back resolv.conf is first, and the rules are last,
when all has been answered. Called by ``sidecar``; every method but ``drain`` and those that return a Future blocks for
some milliseconds.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import TracebackType

from resolver.attach import conntrack, netns, privileges, sockets, watch
from resolver.attach import firewall as firewalls
from resolver.attach.firewall import Firewall
from resolver.attach.netns import IPAddress, NamespaceThread, Target
from resolver.attach.plan import ADDRESS, Redirect
from resolver.attach.resolvconf_file import ResolvConfFile
from resolver.attach.resolvconf_place import HOST, locate_resolv_conf
from resolver.errors import AttachError
from resolver.forward.resolvconf import ResolvConf

log = logging.getLogger(__name__)

POLL_S = 15.0
"""Seconds between two looks at rules whose changes the kernel announces: only a safety net."""
LEGACY_POLL_S = 1.0
"""Seconds between two looks at rules whose changes nobody announces."""

_ATTEMPTS = 3


class Attachment:
    """127.0.0.11:53 of one network namespace, led to two sockets of this process."""

    udp: socket.socket
    """The UDP socket in the namespace, non-blocking."""
    tcp: socket.socket
    """The TCP socket in the namespace, listening, non-blocking."""
    changes: socket.socket | None
    """Readable after a change of firewall rules: then ``drain``, and ``check`` soon after; None if nothing tells."""
    former: ResolvConf
    """The container's resolv.conf before pydns; empty when it had none of its own."""
    default_gateways: tuple[IPAddress, ...]
    """Of the namespace, IPv4 first; read anew by each ``check``."""
    repairs: int
    """How often ``check`` has put the rules back."""

    @classmethod
    def open(
        cls,
        spec: str,
        *,
        firewall: str = "auto",
        resolv_conf: Path | None = None,
        manage_resolv_conf: bool = True,
    ) -> Attachment:
        """Enter the namespace ``spec`` (NAME, PATH or PID) and open the sockets; no rule and no file is changed.

        ``firewall`` is one of ``firewall.CHOICES``. AttachError when something is missing or in the way: a privilege,
        the namespace, a firewall command, another pydns, a resolv.conf that cannot be written.
        """
        privileges.require(("CAP_SYS_ADMIN", "CAP_NET_ADMIN"), f"attaching to {spec}")
        return cls(netns.locate(spec), firewall, resolv_conf, manage_resolv_conf)

    def __init__(self, target: Target, firewall: str, resolv_conf: Path | None, manage_resolv_conf: bool) -> None:
        self._target = target
        self._closing: list[Callable[[], object]] = []
        self._leftover: list[Firewall] = []
        self._file: ResolvConfFile | None = None
        self._manages_file = manage_resolv_conf
        self._installed = False
        self.repairs = 0
        try:
            before = self._enter(firewall)
            self._read_resolv_conf(resolv_conf)
            self._open_sockets(before)
        except BaseException:
            self.close()  # with what an earlier run left: its ports are dead
            raise

    def _enter(self, wanted: str) -> Redirect | None:
        """Find out whether the namespace can be served, changing nothing; the ports of a run that was killed."""
        self._thread = NamespaceThread(self._target, "rules")
        self._closing.append(self._thread.close)
        inside = self._thread.call
        self._identity = inside(netns.identity)
        self._closing.append(inside(sockets.take_lock).close)
        self._firewall: Firewall = inside(firewalls.choose, wanted)
        return inside(self._find_leftover)

    def _open_sockets(self, before: Redirect | None) -> None:
        inside = self._thread.call
        inside(netns.bring_loopback_up)
        self.udp, self.tcp = inside(sockets.open_listeners, before)
        self._closing += [self.udp.close, self.tcp.close]
        self._redirect = Redirect(self.udp.getsockname()[1], self.tcp.getsockname()[1])
        self.changes = inside(watch.open_changes) if self._firewall.sends_events else None
        if self.changes is not None:
            self._closing.append(self.changes.close)
        self.default_gateways = inside(netns.default_gateways)
        # A thread of its own: a firewall command that waits for its lock must not hold up a client's query.
        self._upstream_thread = NamespaceThread(self._target, "upstream")
        self._closing.append(self._upstream_thread.close)

    def _find_leftover(self) -> Redirect | None:
        """The ports of a run that was killed; remembers the firewalls that hold rules of it. Runs inside."""
        found: Redirect | None = None
        for firewall in (self._firewall, *firewalls.others(self._firewall)):
            if firewall.is_present():
                log.info("taking over %s rules of an earlier run in %s", firewall.name, self.label)
                self._leftover.append(firewall)
                found = found or firewall.current()
        return found

    def _read_resolv_conf(self, explicit: Path | None) -> None:
        place = locate_resolv_conf(self._target, explicit, writable=self._manages_file)
        if place is None:
            self.former = ResolvConf()
            return
        self._closing.append(place.close)
        try:
            seed = HOST.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            seed = ""
        self._file = ResolvConfFile(place, ADDRESS, seed)
        self.former = self._file.former

    @property
    def label(self) -> str:
        """How to call the namespace in messages."""
        return self._target.label

    @property
    def pid(self) -> int | None:
        """The process whose namespace it is, when it was given as one."""
        return self._target.pid

    @property
    def is_gone(self) -> bool:
        """True when the name or path that was given stands for no namespace any more, or for another one."""
        return not self._stands_for(self._identity)

    def _stands_for(self, *identities: tuple[int, int] | None) -> bool:
        try:
            return netns.identity_at(self._target.path) in identities
        except OSError:  # another user's process, after our privileges were dropped
            return True

    @property
    def firewall(self) -> str:
        """The name of the firewall that holds the rules."""
        return self._firewall.name

    @property
    def redirect(self) -> Redirect:
        """The ports that stand in for port 53."""
        return self._redirect

    @property
    def former_servers(self) -> tuple[str, ...]:
        """The container's own nameservers from before, without 127.0.0.11; for use from inside the namespace."""
        return tuple(server for server in self.former.nameservers if server != ADDRESS)

    @property
    def poll_interval_s(self) -> float:
        """Seconds after which to call ``check`` although nothing was heard."""
        return LEGACY_POLL_S if self.changes is None else POLL_S

    def install(self) -> None:
        """Lay the rules, then rewrite resolv.conf; from here on the namespace is answered.

        Raises AttachError, with everything undone, when either cannot be done.
        """
        try:
            self._thread.call(self._install_rules)
            if self._file is not None and self._manages_file:
                self._file.rewrite()
        except BaseException:
            self.withdraw()
            raise
        redirect = self._redirect
        log.info(
            "%s: %s:53 leads to ports %d (UDP) and %d (TCP), by %s; %s",
            self.label, redirect.address, redirect.udp_port, redirect.tcp_port, self.firewall,
            f"{self._file.path} names it" if self._file and self._manages_file else "no resolv.conf was changed",
        )  # fmt: skip

    def _install_rules(self) -> None:
        self._installed = True  # even a failed attempt is to be cleaned up after
        self._firewall.install(self._redirect)
        for other in self._leftover:
            if other is not self._firewall:  # only now: until here its rules may have served
                other.remove()
        self._leftover.clear()
        conntrack.forget_strays(self._redirect)
        self.drain()

    def drop_privileges(self, also: Iterable[str] = ()) -> None:
        """Give up every capability that repairing and removing do not need; ``also`` are kept for the caller.

        Capabilities belong to threads: call it on the main thread, before others are started. Those of the
        attachment keep what the firewall commands need, the calling thread only what resolv.conf needs.
        """
        for_file = self._file.capabilities if self._file is not None and self._manages_file else ()
        if privileges.missing(("CAP_SETPCAP",)):
            log.warning("firewall commands keep the privileges that this process started with: no CAP_SETPCAP")
        calling, rules = {*for_file, *also}, set(self._firewall.capabilities)
        self._thread.call(privileges.keep_only, rules)
        self._upstream_thread.call(privileges.keep_only, ())
        privileges.keep_only(calling)
        if others := privileges.holders(calling | rules):
            log.warning("threads started too early keep their privileges: %s", ", ".join(others))

    def drain(self) -> bool:
        """Make ``changes`` quiet again; True if it had something to tell. Never blocks."""
        return self.changes is not None and watch.drain(self.changes)

    def check(self) -> bool:
        """Look at the rules and put them back if they are not as they were; True if that was needed.

        Blocks for one or a few firewall commands; raises AttachError when they cannot be put back.
        """
        return self.start_check().result()

    def start_check(self) -> Future[bool]:
        """``check`` without waiting for it: for an event loop, by ``asyncio.wrap_future``."""
        return self._thread.submit(self._check)

    def _check(self) -> bool:
        repaired = False
        self.default_gateways = netns.default_gateways()  # a container's routes may come after its namespace
        for _ in range(_ATTEMPTS):
            if not self._installed or self._firewall.intact(self._redirect):
                break
            self._firewall.install(self._redirect)
            self.repairs += 1
            repaired = True
            # Our own change was announced as well. What else was announced meanwhile, the next look finds.
            self.drain()
        if repaired:
            conntrack.forget_strays(self._redirect)
            log.warning("%s: the redirect had been changed or removed, and was put back", self.label)
        return repaired

    def open_socket(self, family: int, kind: int) -> Future[socket.socket]:
        """A non-blocking socket inside the namespace, for an upstream that only the container reaches."""
        return self._upstream_thread.submit(sockets.open_upstream, family, kind)

    def restore_resolv_conf(self) -> None:
        """Put resolv.conf back, so that nobody new is sent here; idempotent, a failure is logged, not raised."""
        if self._file is None or not self._manages_file:
            return
        if self._target.name is not None and not self._stands_for(self._identity, None):
            self._manages_file = False
            log.warning("%s belongs to a new namespace of that name now: left as it is", self._file.path)
            return
        self._attempt(self._file.restore, f"{self._file.path} was not put back")

    def withdraw(self) -> None:
        """Put resolv.conf back and remove the rules.

        Idempotent; each step is tried although another failed, and a failure is logged, not raised. To be called when
        the last replies have left: without the rules they do not find back.
        """
        self.restore_resolv_conf()
        firewalls_to_clear = list(self._leftover)
        if self._installed and self._firewall not in firewalls_to_clear:
            firewalls_to_clear.append(self._firewall)
        self._installed = False
        self._leftover = []
        for firewall in firewalls_to_clear:
            step = partial(self._thread.call, firewall.remove)
            self._attempt(step, f"the {firewall.name} rules in {self.label} were not removed")

    def close(self) -> None:
        """``withdraw``, then close the sockets and end the threads; idempotent, never raises."""
        self.withdraw()
        self._release()

    def _release(self) -> None:
        while self._closing:
            self._attempt(self._closing.pop(), f"{self.label} was not closed cleanly")

    def _attempt(self, step: Callable[[], object], failure: str) -> None:
        try:
            step()
        except (OSError, AttachError) as error:
            log.error("%s: %s", failure, error)

    def __enter__(self) -> Attachment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
