"""Whom an asker that is only on internal networks may have asked: who is on these networks himself. No I/O.

Docker 26.1 has such a container's own servers asked from inside its namespace, which has no way out (moby#47538,
#47822). We may have to ask from the host's namespace, which has one: so the servers' addresses decide.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from resolver.forward.upstreams import Upstream

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(maxsize=1024)
def inside(upstreams: tuple[Upstream, ...], subnets: tuple[IPNetwork, ...]) -> tuple[Upstream, ...]:
    """The upstreams that lie within the subnets, and those on the loopback of the asker's own namespace.

    A resolver in the container itself gets no further than the container. Without subnets, on no network, there is
    nobody. A server that is known by name only is nobody either: whoever looks its name up decides where it is.
    """
    return tuple(upstream for upstream in upstreams if subnets and upstream.address and _is_inside(upstream, subnets))


def _is_inside(upstream: Upstream, subnets: Iterable[IPNetwork]) -> bool:
    address = ipaddress.ip_address(upstream.address)
    return any(address in subnet for subnet in subnets) or (upstream.in_namespace and address.is_loopback)
