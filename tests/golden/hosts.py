"""The host's resolv.conf at the time when a container was started, as the recording had it.

Containers on the default bridge got a copy of it; those on user networks got 127.0.0.11, and their resolver these
servers.
"""

from __future__ import annotations

from resolver.attach.resolvconf_text import rewritten
from resolver.forward.resolvconf import ResolvConf, parse
from tests.golden.topology import Container

BASE = "nameserver 10.53.0.1\n"
_SEARCHING = "search corp.test lan\noptions ndots:3 timeout:7\nnameserver 10.53.0.1\n"
TEXTS = {
    "hlo": "search corp.test lan\nnameserver 127.0.0.1\noptions edns0 trust-ad\n",
    "hlo2": "nameserver 127.0.0.1\nnameserver 10.53.0.2\n",
    "hndots": "# comment\ndomain dom.test\nnameserver 10.53.0.1\noptions ndots:3 timeout:1 attempts:1 rotate\n",
    "hnone": "search only.test\n",
    "hfour": "nameserver 10.53.0.7\nnameserver 10.53.0.7\nnameserver 10.53.0.6\nnameserver 10.53.0.1\n",
    "h6only": "nameserver fd53::1\n",
    "nosearch": _SEARCHING,
    "dnsonly": _SEARCHING,
    "optonly": _SEARCHING,
    "searchonly": _SEARCHING,
}


def inside(container: Container) -> ResolvConf:
    """What the container's own file says when pydns has written it: its search list and options, pydns as server."""
    conf = resolv_conf(container.name)
    search = [word for word in container.search if word != "."] if container.search else conf.search
    options = container.options or conf.options
    servers = container.servers or conf.nameservers
    lines = [f"nameserver {server}" for server in servers]
    lines += ["search " + " ".join(search)] if search else []
    lines += ["options " + " ".join(options)] if options else []
    return parse(rewritten("\n".join(lines) + "\n", "127.0.0.11"))


def resolv_conf(container: str) -> ResolvConf:
    """What the host's file said when a container was started."""
    return parse(TEXTS.get(container, BASE))
