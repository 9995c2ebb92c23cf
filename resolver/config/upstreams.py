"""Upstreams as a configuration names them: `forward.upstreams`, those of routes, and `forward.bootstrap`."""

from __future__ import annotations

import importlib.util
import ipaddress
from collections.abc import Callable, Iterable

from resolver.forward.upstreams import Transport, Upstream, parse_nameserver, parse_upstream

HTTPS_LIBRARY = "h2"
_BOOTSTRAP_FIX = 'write addresses, like bootstrap = ["10.0.0.53", "[fd00::53]:53"]'

Complain = Callable[[str, str], None]
"""Called with what is wrong, and how to mend it."""


def upstreams_of(texts: Iterable[str], complain: Complain, fix: str) -> tuple[Upstream, ...]:
    """The upstreams that can be asked, each once; ``fix`` is how one is written."""
    found = []
    for text in texts:
        try:
            upstream = parse_upstream(text)
        except ValueError as error:
            complain(str(error), fix)
            continue
        if upstream.transport is Transport.HTTPS and importlib.util.find_spec(HTTPS_LIBRARY) is None:
            complain(
                f"{text!r} needs the library {HTTPS_LIBRARY}, which is not installed",
                "pip install 'pydns[doh]', or write tls:// if the server speaks that, too",
            )
            continue
        if not _names_its_link(upstream, text, complain):
            continue
        found.append(upstream)
    return tuple(dict.fromkeys(found))


def _names_its_link(upstream: Upstream, text: str, complain: Complain) -> bool:
    """Whether it is known on which link a link-local server is (RFC 4007 11); ``complain`` is told if not."""
    if not upstream.is_ipv6 or "%" in upstream.address or not ipaddress.ip_address(upstream.address).is_link_local:
        return True
    fix = text.replace(upstream.address, f"{upstream.address}%eth0", 1)
    complain(f"{text!r} is a link-local address, which is another server on each link", f"name the link, like {fix}")
    return False


def bootstrap_of(texts: Iterable[str], complain: Complain) -> tuple[Upstream, ...]:
    """The servers at which the names of upstreams are looked up: addresses, or the look-up would need another one."""
    found = []
    for text in texts:
        try:
            upstream = parse_nameserver(text)
        except ValueError as error:
            complain(str(error), _BOOTSTRAP_FIX)
            continue
        if _names_its_link(upstream, text, complain):
            found.append(upstream)
    return tuple(dict.fromkeys(found))
