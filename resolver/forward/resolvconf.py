"""resolv.conf as a value: parse it, read its options, write it again (resolv.conf(5)).

Pure text in, text out: who reads and writes the file is somebody else's concern. dnspython has a reader too, but
it keeps neither ``attempts`` nor unknown directives, and ``attach`` must give back every line it did not mean to change
(docs/adr/0005).
"""

from __future__ import annotations

import ipaddress

from msgspec import Struct, field

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

DEFAULT_TIMEOUT_S = 5.0
DEFAULT_ATTEMPTS = 2
MAX_TIMEOUT_S = 30.0
MAX_ATTEMPTS = 5
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


class ResolvConf(Struct, frozen=True):
    """What one resolv.conf says; unusable parts are kept apart, never lost."""

    nameservers: tuple[str, ...] = ()
    """Addresses in their order of appearance, canonical; an IPv6 link-local one keeps its ``%scope``."""
    search: tuple[str, ...] = ()
    """The search list; the last ``search`` or ``domain`` line counts."""
    options: tuple[str, ...] = ()
    """Every option word in order, as written."""
    others: tuple[str, ...] = ()
    """Lines with a directive unknown to us (``sortlist``…), as written."""
    invalid_nameservers: tuple[str, ...] = field(default=())
    """What stood behind ``nameserver`` and is no address."""

    def option(self, name: str) -> str | None:
        """The value of an option; ``""`` for one without a value, None for one that is absent; the last one counts."""
        found: str | None = None
        for word in self.options:
            key, _, value = word.partition(":")
            if key == name:
                found = value
        return found

    def _number(self, name: str) -> int | None:
        value = self.option(name)
        return int(value) if value is not None and value.isascii() and value.isdigit() else None

    @property
    def timeout_s(self) -> float:
        """Seconds to wait for one server (1 to 30; 5 when not set)."""
        value = self._number("timeout")
        return DEFAULT_TIMEOUT_S if value is None else min(max(float(value), 1.0), MAX_TIMEOUT_S)

    @property
    def attempts(self) -> int:
        """How many times the whole list is gone through (1 to 5; 2 when not set)."""
        value = self._number("attempts")
        return DEFAULT_ATTEMPTS if value is None else min(max(value, 1), MAX_ATTEMPTS)

    @property
    def ndots(self) -> int | None:
        """The ``ndots`` option; None when it is absent or not a number of 0 or more."""
        return self._number("ndots")

    @property
    def rotate(self) -> bool:
        """True when the load is to be spread over all servers."""
        return self.option("rotate") is not None

    @property
    def edns0(self) -> bool:
        """True when queries are to be sent with EDNS (RFC 6891)."""
        return self.option("edns0") is not None

    @property
    def use_vc(self) -> bool:
        """True when servers are to be asked over TCP."""
        return self.option("use-vc") is not None or self.option("usevc") is not None

    @property
    def no_aaaa(self) -> bool:
        """True when no server is to be asked for AAAA."""
        return self.option("no-aaaa") is not None


def parse_nameserver(word: str) -> str | None:
    """The canonical address in ``word`` (``%scope`` kept, as in ``fe80::1%eth0``), or None.

    A multicast or broadcast address is none: no one server is there.
    """
    try:
        address = ipaddress.ip_address(word)
    except ValueError:
        return None
    return None if address.is_multicast or address == _BROADCAST else str(address)


def parse(text: str) -> ResolvConf:
    """Read the text of a resolv.conf; nothing in it is an error, as for every stub resolver."""
    nameservers: list[str] = []
    invalid: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    others: list[str] = []
    for line in text.splitlines():
        if line.startswith(("#", ";")) or not line.strip():
            continue
        keyword, *words = line.split()
        match keyword:
            case "nameserver":
                address = parse_nameserver(words[0]) if words else None
                if address is None:
                    invalid.append(" ".join(words))
                elif address not in nameservers:
                    nameservers.append(address)
            case "search" | "domain":
                search = tuple(words)
            case "options":
                options.extend(words)
            case _:
                others.append(line.strip())
    return ResolvConf(tuple(nameservers), search, tuple(options), tuple(others), tuple(invalid))
