"""The resolv.conf of the recorded containers against what pydns writes for the same host file and flags."""

from __future__ import annotations

import pytest

from resolver.forward.resolvconf import parse
from tests.golden import hosts
from tests.golden.recorded import captures
from tests.golden.states import world_after

BASE = world_after(1)
OURS = {
    # Docker writes a server with an IPv6 address beside its own, since it does not forward to one; pydns does.
    "dns6": {"nameservers": ("127.0.0.11",)},
    "dns64": {"nameservers": ("127.0.0.11",)},
    # Docker 20.10 loses a `domain` line; it is the search list of a file that has no `search` (resolv.conf(5)).
    "hndots": {"search": ("dom.test",)},
}
"""What pydns writes otherwise, by container."""


def on_user_networks() -> list[str]:
    return [
        name
        for name, captured in captures().items()
        if captured.get("state") == "base topology" and name not in BASE.sharing and BASE.networks_of(BASE.asker(name))
    ]


@pytest.mark.parametrize("name", on_user_networks())
def test_resolv_conf_says_the_same(name: str) -> None:
    docker = parse(captures()[name]["resolv.conf"])
    pydns = hosts.inside(BASE.asker(name))
    for key in ("nameservers", "search", "options"):
        assert getattr(pydns, key) == OURS.get(name, {}).get(key, getattr(docker, key)), key


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in OURS.items() for key in keys])
def test_a_listed_difference_is_one(name: str, key: str) -> None:
    assert getattr(parse(captures()[name]["resolv.conf"]), key) != OURS[name][key]
