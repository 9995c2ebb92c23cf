"""The host's resolv.conf as it is now: read again whenever it may have changed, and its last good state.

A file that is missing, cannot be read or names no server takes nothing away: it is what a network manager leaves for
the blink between two networks, and the servers that it named before are asked on. There is no other fall-back: before
a first good file nobody is asked.
"""

from __future__ import annotations

import logging
from pathlib import Path

from resolver.content import Reloads
from resolver.errors import Fault
from resolver.forward.resolvconf import ResolvConf, parse
from resolver.resolved.routing import STUBS
from resolver.sources.octets import Read, Unfinished, read_octets

log = logging.getLogger(__name__)

RESOLV_CONF = "resolv_conf"
_WRITTEN_BY_RESOLVED = Path("/run/systemd/resolve")


class HostResolvConf:
    """One resolv.conf that is followed."""

    def __init__(self, path: Path, *, is_needed: bool = True, read: Read = read_octets) -> None:
        self._read = read
        self.path = path
        """May be set anew; the last good state stays until the new file is good."""
        self.is_needed = is_needed
        """False when others are asked than its servers: then only its options count, and nothing is complained of."""
        self.conf = ResolvConf()
        """What is gone by."""
        self.is_resolved = False
        """True when that is a file of systemd-resolved's, or names its stub alone (resolved itself knows more)."""
        self._faults: tuple[Fault, ...] = ()
        self.reloads = Reloads()
        self._seen: tuple[ResolvConf | str, bool] | None = None

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with it now, if it is needed."""
        return self._faults if self.is_needed else ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """What is to be watched."""
        return (self.path,)

    def refresh(self) -> bool:
        """Read the file again; True when it says something else, or is another's, than what was gone by so far."""
        try:
            seen, is_resolved = _seen(self.path, self._read), _is_written_by_resolved(self.path)
        except Unfinished:
            return False
        if (seen, is_resolved) == self._seen:
            return False
        self._seen = seen, is_resolved
        is_good = isinstance(seen, ResolvConf) and (bool(seen.nameservers) or not self.conf.nameservers)
        self.reloads.count(success=is_good)
        self._faults = tuple(self._faults_of(seen))
        for fault in self.faults:
            log.warning("%s", fault)
        if not isinstance(seen, ResolvConf) or not is_good:
            return False
        before = self.conf, self.is_resolved
        self.conf, self.is_resolved = seen, is_resolved or _names_stub_alone(seen)
        return before != (self.conf, self.is_resolved)

    def _faults_of(self, seen: ResolvConf | str) -> list[Fault]:
        kept = ", ".join(self.conf.nameservers)
        effect = f"{kept} are asked on" if kept else "nothing can be forwarded until then"
        place = str(self.path)
        if isinstance(seen, str):
            return [Fault(place, f"cannot be read: {seen}", f"put it back; {effect}", is_warning=True)]
        found = [
            Fault(place, f"nameserver {word!r} is no address, and is passed over", "write an address", is_warning=True)
            for word in seen.invalid_nameservers
        ]
        if not seen.nameservers and kept:  # from the start it may well be meant
            found.append(
                Fault(place, "names no server any more", f"write nameserver ADDRESS; {effect}", is_warning=True)
            )
        return found


def read_conf(path: Path, read: Read = read_octets) -> ResolvConf:
    """What a resolv.conf says; raises OSError when it cannot be read."""
    return parse(read(path).decode(errors="replace"))


def _seen(path: Path, read: Read) -> ResolvConf | str:
    """What the file says, or why it cannot be read."""
    try:
        return read_conf(path, read)
    except Unfinished:
        raise
    except OSError as error:
        return error.strerror or str(error)


def _names_stub_alone(conf: ResolvConf) -> bool:
    return bool(conf.nameservers) and all(server in STUBS for server in conf.nameservers)


def _is_written_by_resolved(path: Path) -> bool:
    """True where links lead to a file of resolved's: stub-resolv.conf, or resolv.conf with its servers' addresses."""
    try:
        return path.resolve().is_relative_to(_WRITTEN_BY_RESOLVED)
    except (OSError, RuntimeError):  # a loop of links
        return False
