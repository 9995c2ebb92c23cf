"""The recording as a sequence of steps: what was done to the topology before a case was asked.

A case names the last steps before it; they are looked for in `STEPS`, and the world is what all steps up to there
have made of it. A step that nobody wrote down here fails every case behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from tests.golden.topology import World

Step = Callable[[World], None]

ORDER_NETWORKS = ("aaa", "zzz", "aint")
ORDER_CONTAINERS = {
    "s1": ("mynet", "aaa", "zzz", "aint", "v6net"),
    "c1": ("zzz", "mynet", "aaa"),
    "c2": ("mynet",),
    "c3": ("aint", "mynet"),
    "c4": ("aaa", "v6net"),
    "c5": ("aint", "zzz", "v6net"),
}
ODD_ALIASES = ("a b", "-x", "a..b", "x.", ".y", "m" * 64, "*", "été", "tab\\tx", "")


def _nothing(world: World) -> None:
    """The names stay what they are."""


def _shared_alias(world: World) -> None:
    world.add("sa", "mynet", ("shared",))
    world.add("sb", "othernet", ("shared",))


def _two_networks(world: World) -> None:
    world.add("zfirst", "othernet")
    world.connect("mynet", "zfirst")


def _order(world: World) -> None:
    for name in ORDER_NETWORKS:
        world.create_network(name, internal=name == "aint")
    for name, networks in ORDER_CONTAINERS.items():
        world.add(name, networks[0])
        for network in networks[1:]:
            world.connect(network, name)


def _end_of_order(world: World) -> None:
    world.remove(*ORDER_CONTAINERS)
    world.remove_networks(*ORDER_NETWORKS)


def _odd_aliases(world: World) -> None:
    """Docker takes any text for an alias."""
    for number, alias in enumerate(ODD_ALIASES):
        world.add(f"odd{number}", "mynet", (alias,))


def _web_back(world: World) -> None:
    world.disconnect("othernet", "web")
    world.connect("mynet", "web", ("www", "app"))


_ODD = str(list(ODD_ALIASES)).replace("\\\\", "\\")

STEPS: tuple[tuple[str, Step], ...] = (
    ("base topology", _nothing),
    (
        "docker run --name dbimpostor --network-alias db (same name as container db)",
        lambda world: world.add("dbimpostor", "mynet", ("db",)),
    ),
    ("dbimpostor removed", lambda world: world.remove("dbimpostor")),
    ('sa on mynet, sb on othernet, both alias "shared"; client db is on both networks', _shared_alias),
    ("sa removed", lambda world: world.remove("sa")),
    ("sb removed", lambda world: world.remove("sb")),
    ("zfirst: othernet first, then mynet", _two_networks),
    ("zfirst removed", lambda world: world.remove("zfirst")),
    ("fixedip --ip6 fd00:dead:beef::42", lambda world: world.add("fixedip", "v6net")),
    ("docker stop db", lambda world: world.stop("db")),
    ("docker start db", lambda world: world.start("db")),
    (
        "s1 on mynet,aaa,zzz,aint(internal),v6net; clients c1: zzz,mynet,aaa  c2: mynet  c3: aint,mynet  c4: aaa,v6net"
        "  c5: aint,zzz,v6net (listed in join order)",
        _order,
    ),
    ("docker network connect aaa c2", lambda world: world.connect("aaa", "c2")),
    ("docker restart c1", _nothing),
    ("order containers and networks removed", _end_of_order),
    (f"containers odd0.. with aliases {_ODD}", _odd_aliases),
    (
        "odd containers removed",
        lambda world: world.remove(*(f"odd{number}" for number in range(len(ODD_ALIASES)))),
    ),
    ("docker pause pool1", _nothing),
    ("docker stop pool1", lambda world: world.stop("pool1")),
    ("docker start pool1", lambda world: world.start("pool1")),
    ("docker restart pool1", _nothing),
    ("docker kill pool1", lambda world: world.stop("pool1")),
    ("docker start pool1", lambda world: world.start("pool1")),
    ("docker rename pool2 pooltwo", lambda world: world.rename("pool2", "pooltwo")),
    ("docker restart pooltwo", _nothing),
    ("docker rename pooltwo pool2", lambda world: world.rename("pooltwo", "pool2")),
    ("docker rename db dbx (linker has link db:database)", lambda world: world.rename("db", "dbx")),
    ("renamed back", lambda world: world.rename("dbx", "db")),
    ("docker network disconnect mynet web", lambda world: world.disconnect("mynet", "web")),
    (
        "docker network connect --alias www --alias newalias mynet web",
        lambda world: world.connect("mynet", "web", ("www", "newalias")),
    ),
    ("docker network connect othernet web", lambda world: world.connect("othernet", "web")),
    ("docker network disconnect mynet web (still on othernet)", lambda world: world.disconnect("mynet", "web")),
    ("web back on mynet only (aliases www app)", _web_back),
    ("docker network connect mynet bweb (was default bridge only)", lambda world: world.connect("mynet", "bweb")),
    ("docker network disconnect mynet bweb", lambda world: world.disconnect("mynet", "bweb")),
    ("host resolv.conf changed 10.53.0.1 -> 10.53.0.3", _nothing),
    ("host resolv.conf restored", _nothing),
    ("pool1 resolv.conf edited by user", _nothing),
    ("third pool member pool3 started", lambda world: world.add("pool3", "mynet", ("pool",))),
    ("docker rm -f pool3", lambda world: world.remove("pool3")),
)


def position(setup: tuple[str, ...]) -> int:
    """How many steps were taken, by the last ones of them."""
    names = [name for name, _ in STEPS]
    found = [end for end in range(len(setup), len(names) + 1) if tuple(names[end - len(setup) : end]) == setup]
    assert len(found) == 1, f"these steps stand {len(found)} times in STEPS: {' > '.join(setup)}"
    return found[0]


@cache
def world_after(steps: int) -> World:
    """The world when so many steps were taken; not to be changed."""
    world = World()
    for _, step in STEPS[:steps]:
        step(world)
    return world


def world_of(setup: tuple[str, ...]) -> World:
    """The world in which a case was asked."""
    return world_after(position(setup))
