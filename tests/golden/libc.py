"""The counterpart of `getent`: the questions that the C library asks, put to pydns one after the other.

`getent hosts` asks for AAAA records along the whole search list and then for A records, `getent ahosts` in a container
with no IPv6 address for A records alone; the first name that has addresses ends it. Which names these are is up to
`search` and `ndots` (resolv.conf(5)). Compared are the addresses, and that there are none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import dns.message

from resolver.forward.resolvconf import ResolvConf
from tests.golden import hosts
from tests.golden.recorded import Case
from tests.golden.topology import World
from tests.golden.transcript import Told

Ask = Callable[[Sequence[bytes]], Awaitable[tuple[Told, ...]]]
_TYPES = {"hosts": ("AAAA", "A"), "ahosts": ("A",)}


def candidates(name: str, conf: ResolvConf) -> list[str]:
    """The names that are tried, in their order."""
    found = [f"{name}.{suffix}." for suffix in conf.search]
    is_first = name.count(".") >= (1 if conf.ndots is None else conf.ndots)
    return [f"{name}.", *found] if is_first else [*found, f"{name}."]


async def look_up(case: Case, world: World, ask: Ask) -> Told:
    """What the command would have found with pydns as its server."""
    assert case.command is not None
    _, database, name = case.command.split()
    conf = hosts.inside(world.asker(case.client))
    for rtype in _TYPES[database]:
        for candidate in candidates(name, conf):
            (told,) = await ask([dns.message.make_query(candidate, rtype).to_wire()])
            addresses = [record.split() for record in told.answer]
            found = [rdata for _, _, _, kind, rdata in addresses if kind == rtype]
            if found:
                return Told("addresses", answer=tuple(sorted(set(found))))
    return Told("no address")


def recorded(case: Case, world: World) -> tuple[Told, ...]:
    """What the command printed in the recording."""
    (response,) = case.responses
    *lines, status = response["stdout"].splitlines()
    found = sorted({world.expand(line.split()[0]) for line in lines})
    assert (status == "rc=0") == bool(found), response
    return (Told("addresses", answer=tuple(found)) if found else Told("no address"),)
