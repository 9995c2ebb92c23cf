"""The registry that the tests of the stages ask."""

from __future__ import annotations

from resolver.views import View, Views
from tests.unit.asking import views_of

WORLD = """\
[networks.mynet]
subnets  = ["172.18.0.0/16", "fd00:18::/64"]
gateways = ["172.18.0.1", "fd00:18::1"]

[networks.mynet.endpoints.db]
id        = "492ba8a9277d96876f0a605d9434723aed774978a40023e778a97815216754f0"
addresses = ["172.18.0.2", "fd00:18::2"]
aliases   = ["database", "*.db", "App"]
hostname  = "db-1"
ports     = ["5432/tcp", "53/udp", { port = 9187, protocol = "tcp", name = "metrics" }]

[networks.mynet.endpoints.web]
addresses = ["172.18.0.3"]
aliases   = ["app", "my.site.example.org"]
links     = { db = ["sql", "store"], gone = "nobody" }
ports     = [{ port = 80, name = "HTTP" }, { port = 8080, name = "http" }]

[networks.mynet.endpoints.own]
addresses = ["172.18.0.4"]
dns       = ["10.0.0.53"]

[networks.backend]
subnets  = ["172.19.0.0/16"]
gateways = ["172.19.0.1"]
internal = true
ttl      = 60

[networks.backend.endpoints.db]
addresses = ["172.19.0.2"]

[networks.backend.endpoints.vault]
addresses = ["172.19.0.9"]
aliases   = ["safe"]
ttl       = 5

[networks.backend.endpoints.rich]
addresses = ["172.19.0.10"]
dns       = ["10.9.9.9"]

[networks."corp.net"]
subnets = ["10.20.16.0/20"]

[networks."corp.net".endpoints.ledger]
addresses = ["10.20.16.5"]
"""
HOSTS = """\
192.0.2.80 printer.example.org printer *.lab
192.0.2.81 printer
2001:db8::80 printer
"""


def world() -> Views:
    return views_of(WORLD, hosts_text=HOSTS)


def mynet(endpoint: str | None = None) -> View:
    return world().pinned(("mynet",), endpoint)


def backend(endpoint: str | None = None) -> View:
    return world().pinned(("backend",), endpoint)


def both(endpoint: str | None = None) -> View:
    return world().pinned(("backend", "mynet"), endpoint)
