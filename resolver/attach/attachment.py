"""One namespace that pydns answers for, from the first look to the last trace removed.

The order is what counts here. Nothing is changed before both sockets listen; rules come first and resolv.conf second,
so that nobody is sent to an address that does not answer; on the way back resolv.conf is first, and the rules are last,
when all has been answered. Called by ``sidecar`` and ``agent``; every method but ``drain`` and those that return a
Future blocks for some milliseconds.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import TracebackType

from msgspec import Struct

from resolver.attach import conntrack, netns, privileges, sockets, watch
from resolver.attach import firewall as firewalls
from resolver.attach.command import GivenUp
from resolver.attach.firewall import Firewall
from resolver.attach.inside import Entrance, own_threads
from resolver.attach.netns import IPAddress, Target
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


def _admit(_identity: tuple[int, int]) -> None:
    """Whatever was entered is what was meant."""


class ServedAlready(AttachError):
    """The namespace is not to be served by us; what a killed run had left there is gone now."""


class Manner(Struct, frozen=True):
    """How to attach; the defaults are a sidecar's."""

    firewall: str = "auto"
    """One of ``firewall.CHOICES``."""
    resolv_conf: Path | None = None
    """The container's resolv.conf, where it is not found by the namespace."""
    manage_resolv_conf: bool = True
    takes_over: bool = True
    """False: leave a namespace alone in which somebody else serves 127.0.0.11, as Docker's own resolver does."""
    serves: bool = True
    """False: only take away what a killed run has left."""
    enter: Entrance = own_threads
    choose: Callable[[str], Firewall] = firewalls.choose
    admits: Callable[[tuple[int, int]], None] = _admit
    """Called with the identity of the namespace that was entered, at once and again when its files have been found;
    raises AttachError when it is, or may be, another one than was meant. Nothing is changed before."""


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
    leaves_something: bool
    """True after `close` when a rule or a file of ours could not be taken away."""

    @classmethod
    def open(
        cls,
        spec: str,
        *,
        firewall: str = "auto",
        resolv_conf: Path | None = None,
        manage_resolv_conf: bool = True,
    ) -> Attachment:
        """As the class itself, for a namespace by its ``spec`` (`netns.locate`); ``firewall``: see `Manner`."""
        target = netns.locate(spec)
        to_enter = () if target.is_own else ("CAP_SYS_ADMIN",)
        privileges.require((*to_enter, "CAP_NET_ADMIN"), f"attaching to {spec}")
        return cls(target, Manner(firewall, resolv_conf, manage_resolv_conf))

    def __init__(self, target: Target, manner: Manner) -> None:
        """Enter the namespace and open the sockets; no rule and no file is changed.

        AttachError when something is missing or in the way: a privilege, the namespace, a firewall command, another
        pydns, a resolv.conf that cannot be written; ServedAlready as `Manner.takes_over` says.
        """
        self._target = target
        self._closing: list[Callable[[], object]] = []
        self._leftover: list[Firewall] = []
        self._file: ResolvConfFile | None = None
        self._manages_file = manner.manage_resolv_conf
        self._installed = False
        self._redirect = Redirect(0, 0)
        self.repairs = 0
        self.leaves_something = False
        try:
            self._lanes = manner.enter(target)
            self._closing.append(self._lanes.close)
            before, refusal = self._lanes.rules.call(self._look_around, manner)
            if refusal is None or self._leftover:
                self._read_resolv_conf(manner.resolv_conf)
                self._admit_again(manner)
            if refusal is not None:
                raise refusal
            self._lanes.rules.call(self._open_sockets, before)
        except BaseException:
            self.close()  # with what an earlier run left: its ports are dead
            raise

    def _look_around(self, manner: Manner) -> tuple[Redirect | None, ServedAlready | None]:
        """Find out, changing nothing: the ports of a run that was killed, and why the namespace is not to be served."""
        self._identity = netns.identity()
        manner.admits(self._identity)
        self._closing.append(sockets.take_lock().close)
        self._firewall = manner.choose(manner.firewall)
        found = self._find_leftover()
        self._redirect = found or self._redirect
        if not manner.serves:
            return found, ServedAlready("it is not to be served")
        if manner.takes_over or not sockets.servers_there():
            return found, None
        theirs = f"it has a resolver of its own at {ADDRESS}, which is left to it"
        return found, ServedAlready(f"{theirs}; takeover = true takes its place")

    def _admit_again(self, manner: Manner) -> None:
        try:
            manner.admits(self._identity)
        except BaseException:
            self._file = None  # whoever's it is: nothing is put back in it
            raise

    def _open_sockets(self, before: Redirect | None) -> None:
        netns.bring_loopback_up()
        self.udp, self.tcp = sockets.open_listeners(before)
        self._closing += [self.udp.close, self.tcp.close]
        self._redirect = Redirect(self.udp.getsockname()[1], self.tcp.getsockname()[1])
        self.changes = watch.open_changes() if self._firewall.sends_events else None
        if self.changes is not None:
            self._closing.append(self.changes.close)
        self.default_gateways = netns.default_gateways()

    def _find_leftover(self) -> Redirect | None:
        """The ports of a run that was killed; remembers the firewalls that hold rules of it. Runs inside."""
        found: Redirect | None = None
        for firewall in (self._firewall, *firewalls.others(self._firewall)):
            if firewall.is_present():
                log.info("found %s rules of an earlier run in %s", firewall.name, self.label)
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
        self._closing.append(self._file.close)
        self.former = self._file.former

    @property
    def identity(self) -> tuple[int, int]:
        """What tells the namespace from every other: `netns.identity_at`."""
        return self._identity

    @property
    def label(self) -> str:
        """How to call the namespace in messages."""
        return self._target.label

    @property
    def pid(self) -> int | None:
        """The process whose namespace it is, when it was given as one."""
        return self._target.pid

    @property
    def is_own(self) -> bool:
        """True when it was asked for as the namespace that pydns is in."""
        return self._target.is_own

    @property
    def has_resolv_conf(self) -> bool:
        """True when a resolv.conf of its own was found; what it said is ``former``."""
        return self._file is not None

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
            self._lanes.rules.call(self._install_rules)
            if self._file is not None and self._manages_file:
                self._file.rewrite()
        except BaseException:
            self.withdraw()
            raise
        redirect = self._redirect
        log.info(
            "%s: %s:53 leads to ports %d (UDP) and %d (TCP), by %s; %s",
            self.label, redirect.address, redirect.udp_port, redirect.tcp_port, self.firewall,
            f"{self._file.path} names it" if self._file and self._file.points_to_us else "no resolv.conf was changed",
        )  # fmt: skip

    def _install_rules(self) -> None:
        self._installed = True  # even a failed attempt is to be cleaned up after
        if self._leftover == [self._firewall] and self._firewall.intact(self._redirect):
            # A killed run's rules and its ports: nothing is to be done, and all flows lead here.
            self._leftover.clear()
            return
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
        calling, rules = {*for_file, *also}, set(self._firewall.capabilities)
        if privileges.missing(("CAP_SETPCAP",)) and privileges.can_gain_beyond(rules):
            log.warning("firewall commands keep the privileges that this process started with: no CAP_SETPCAP")
        self._lanes.rules.call(privileges.keep_only, rules)
        self._lanes.sockets.call(privileges.keep_only, ())
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
        return self._lanes.rules.submit(self._check)

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
        return self._lanes.sockets.submit(sockets.open_upstream, family, kind)

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
            step = partial(self._lanes.rules.call, self._remove, firewall)
            self._attempt(step, f"the {firewall.name} rules in {self.label} were not removed")

    def _remove(self, firewall: Firewall) -> None:
        firewall.remove()
        redirect = self._redirect
        if sockets.servers_there((redirect.udp_port, redirect.tcp_port)):
            conntrack.forget_ours(redirect)  # who asked us would not reach them before the flow expires

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
        except GivenUp:
            self.leaves_something = True  # one line for all namespaces is the caller's
        except (OSError, AttachError) as error:
            self.leaves_something = True
            log.error("%s: %s", failure, error)

    def __enter__(self) -> Attachment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
