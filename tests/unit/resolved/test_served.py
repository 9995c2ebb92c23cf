"""What becomes of an import in a server's state: beside what is configured, and for who has servers of its own."""

from __future__ import annotations

from pathlib import Path

from resolver.app import Server
from resolver.assembly import chain_of, host_upstreams
from resolver.config.load import load
from resolver.config.schema import Settings
from resolver.forward.routes import Route, Target
from resolver.forward.upstreams import Upstream, parse_upstream
from resolver.hostconf import HostResolvConf
from resolver.pipeline.chain import Chain
from resolver.resolved.routing import Imported
from resolver.wire.name import fold, from_text

LAN, VPN = Upstream("10.1.1.53"), Upstream("10.1.2.53")


def route(suffix: str, *upstreams: Upstream) -> Route:
    return Route(f"{suffix} (systemd-resolved, vpn)", (fold(from_text(suffix)),), Target.UPSTREAMS, upstreams)


FOUND = Imported((LAN,), (route("corp.example", VPN), route("vpn.example", VPN)))


def settings_of(folder: Path, text: str) -> Settings:
    (folder / "pydns.toml").write_text(text)
    return load(folder / "pydns.toml", with_shipped_zones=False)


def led_to(chain: Chain, name: str) -> tuple[Upstream, ...]:
    found = chain.routes.find(fold(from_text(name)))
    return () if found is None else found.upstreams


def test_a_configured_route_wins_for_its_suffix(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, '[[forward.routes]]\nsuffix = "corp.example"\nupstreams = ["10.9.9.53"]\n')
    chain = chain_of(settings, FOUND)

    assert (parse_upstream("10.9.9.53"),) == led_to(chain, "git.corp.example")
    assert (VPN,) == led_to(chain, "git.vpn.example")
    assert ["corp.example", "vpn.example (systemd-resolved, vpn)"] == sorted(each.shown for each in chain.routes)


def test_we_are_nobodys_upstream(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, '[server]\nlisten = ["10.1.2.53:53"]\n')
    found = Imported((), (route("corp.example", VPN, LAN),))

    assert (LAN,) == led_to(chain_of(settings, found), "git.corp.example")


def test_whoever_has_servers_of_its_own_has_no_part_in_it(tmp_path: Path) -> None:
    """Its state is made of the server's; `agent.member` puts this chain in."""
    settings = settings_of(tmp_path, '[[forward.routes]]\nsuffix = "lab.example"\nupstreams = ["10.9.9.53"]\n')
    server = Server(settings, lambda: settings)
    before = server.make_state()
    assert server.own_chain(before) is before.chain

    server.resolved.imported = FOUND
    state = server.make_state()
    assert ((LAN,), (VPN,)) == (state.upstreams, led_to(state.chain, "corp.example"))
    own = server.own_chain(state)
    assert ["lab.example"] == [each.shown for each in own.routes]


def test_the_stub_is_asked_until_the_first_word(tmp_path: Path) -> None:
    conf = HostResolvConf(tmp_path / "resolv.conf")
    conf.path.write_text("nameserver 127.0.0.53\n")
    conf.refresh()

    assert (Upstream("127.0.0.53"),) == host_upstreams(conf, None)
    assert (LAN,) == host_upstreams(conf, FOUND)
