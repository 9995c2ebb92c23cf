"""The real servers, once for the folder: two authorities, and what stands in front of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.forwarding import programs, zones
from tests.forwarding.lab import Lab
from tests.scenarios.live import At, Live

Serve = Callable[..., Live]


class Authorities(NamedTuple):
    """Who has the zones."""

    knotd: At
    """The plain one, and two that it signs itself."""
    named: At
    """The plain one, and one that bind's tools have signed, with a record that was changed afterwards."""

    @property
    def signed(self) -> dict[str, At]:
        """Where the signed zones are."""
        return {zones.NSEC: self.knotd, zones.NSEC3: self.knotd, zones.BROKEN: self.named}

    @property
    def every(self) -> dict[str, At]:
        """Where each zone is, by its name."""
        return {zones.PLAIN: self.knotd, zones.INSIDE: self.named, **self.signed}


class Anchors(NamedTuple):
    """The keys of the signed zones, for those who validate."""

    unbound: Path
    delv: Path


@pytest.fixture(scope="package")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authorities]:
    """knotd and named."""
    folder = tmp_path_factory.mktemp("authorities")
    plain, signed = folder / "plain.zone", folder / "signed.zone"
    plain.write_text(zones.PLAIN_TEXT)
    signed.write_text(zones.SIGNED_TEXT)
    knot = {zones.PLAIN: plain, zones.NSEC: signed, zones.NSEC3: signed}
    inside = folder / "inside.zone"
    inside.write_text(zones.INSIDE_TEXT)
    bind = {
        zones.PLAIN: plain,
        zones.INSIDE: inside,
        zones.BROKEN: zones.sign(folder, zones.BROKEN, zones.SIGNED_TEXT + zones.big_keys(4)),
    }
    at, shared = programs.lonely(), programs.shared()
    policies = {zones.NSEC: "nsec", zones.NSEC3: "nsec3"}
    with (
        programs.started(programs.knotd(folder, at, knot, policies), folder, at, zones.NSEC3),
        programs.started(programs.named(folder, shared, bind), folder, shared, zones.BROKEN),
    ):
        yield Authorities(at, shared)


@pytest.fixture(scope="package")
def anchors(authorities: Authorities, tmp_path_factory: pytest.TempPathFactory) -> Anchors:
    """Files of trust anchors."""
    folder = tmp_path_factory.mktemp("anchors")
    unbound, delv = folder / "unbound.keys", folder / "delv.keys"
    unbound.write_text(zones.anchors_for_unbound(authorities.signed))
    delv.write_text(zones.anchors_for_delv(authorities.signed))
    return Anchors(unbound, delv)


@pytest.fixture(scope="package")
def validating(authorities: Authorities, anchors: Anchors, tmp_path_factory: pytest.TempPathFactory) -> Iterator[At]:
    """An unbound that validates."""
    folder, at = tmp_path_factory.mktemp("unbound"), programs.lonely()
    command = programs.unbound(folder, at, authorities.every, anchors.unbound)
    with programs.started(command, folder, at, zones.PLAIN):
        yield at


@pytest.fixture(scope="package")
def in_between(authorities: Authorities, tmp_path_factory: pytest.TempPathFactory) -> Iterator[At]:
    """A dnsmasq that forwards and keeps."""
    folder, at = tmp_path_factory.mktemp("dnsmasq"), programs.lonely()
    server = authorities.knotd
    command = programs.dnsmasq(at, f"--server={server.host}#{server.port}", "--edns-packet-max=4096")
    with programs.started(command, folder, at, zones.PLAIN):
        yield at


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start a `pydns serve` with `Live`'s options for the module, and wait until it is ready."""
    with ExitStack() as stack:

        def start(**options: Any) -> Live:
            return stack.enter_context(Live(tmp_path_factory.mktemp("pydns"), **options))

        yield start


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with its two servers."""
    with Lab() as made:
        made.both(tmp_path_factory.mktemp("lab"))
        yield made
