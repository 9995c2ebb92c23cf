"""The host's resolv.conf in every layout that Debian knows: new servers serve within a second, and no query is lost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.netns.resolved import STUB, ResolvedHost, asking, relinked, replaced
from tests.netns.world import wait_until

pytestmark = pytest.mark.root

SERVED_WITHIN_S = 1.0
LAYOUTS = {
    "NetworkManager": "",
    "NetworkManager, rc-manager=symlink": "/run/NetworkManager/resolv.conf",
    "resolvconf": "../run/resolvconf/resolv.conf",
    "systemd-resolved": STUB,
}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ResolvedHost]:
    with ResolvedHost(tmp_path, has_resolved=False) as made:
        yield made


def naming(link: int) -> str:
    """A resolv.conf with the server of one link."""
    return f"# made by a test\nnameserver 10.1.{link}.53\nsearch example\n"


def laid_out(host: ResolvedHost, target: str) -> Path:
    """Make /etc/resolv.conf in a layout; the file that is written to."""
    if not target:
        replaced(host.etc / "resolv.conf", naming(1))
        return host.etc / "resolv.conf"
    file = host.run_folder / target.partition("/run/")[2]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(naming(1))
    relinked(host.etc / "resolv.conf", target)
    return file


def seconds_until(host: ResolvedHost, link: int, change: Callable[[], None]) -> float:
    """Until the first answer from the new server, and from no other."""
    change()
    began = time.monotonic()
    host.await_who(f"changed-{began:.6f}.example", link)
    return time.monotonic() - began


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_new_server_serves_within_a_second_and_no_query_is_lost(host: ResolvedHost, layout: str) -> None:
    file = laid_out(host, LAYOUTS[layout])
    host.serve('resolved = "off"')
    assert [1] == host.who("first.example")

    with asking(host) as replies:
        renamed = [seconds_until(host, link, lambda link=link: replaced(file, naming(link))) for link in (2, 3, 1)]  # type: ignore[misc]
        written = [seconds_until(host, link, lambda link=link: _write(file, naming(link))) for link in (2, 3, 1)]  # type: ignore[misc]
    assert statistics.median(renamed) < SERVED_WITHIN_S, renamed
    assert statistics.median(written) < SERVED_WITHIN_S, written
    assert {"NOERROR"} == {reply.status for reply in replies}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_empty_or_missing_file_loses_no_query(host: ResolvedHost, layout: str) -> None:
    file = laid_out(host, LAYOUTS[layout])
    pydns = host.serve('resolved = "off"')

    with asking(host) as replies:
        _write(file, "")
        wait_until(lambda: "names no server any more" in pydns.stderr_text(), 10, "the empty file is noticed")
        assert [1] == host.who("empty.example")
        assert seconds_until(host, 2, lambda: _write(file, naming(2))) < SERVED_WITHIN_S
        file.unlink()
        wait_until(lambda: "cannot be read" in pydns.stderr_text(), 10, "the missing file is noticed")
        assert [2] == host.who("missing.example")
        assert seconds_until(host, 3, lambda: _write(file, naming(3))) < SERVED_WITHIN_S
    assert {"NOERROR"} == {reply.status for reply in replies}


def test_a_link_that_changes_hands_is_followed(host: ResolvedHost) -> None:
    """From one network manager to the next, and back."""
    files = {layout: laid_out(host, target) for layout, target in LAYOUTS.items() if target}
    links = {layout: number for number, layout in enumerate(files, 1)}
    for layout, file in files.items():
        file.write_text(naming(links[layout]))
    host.serve('resolved = "off"')

    with asking(host) as replies:
        for layout in [*files, *reversed(files)]:
            relink = (host.etc / "resolv.conf", LAYOUTS[layout])
            took = seconds_until(host, links[layout], lambda relink=relink: relinked(*relink))  # type: ignore[misc]
            assert took < SERVED_WITHIN_S
    assert {"NOERROR"} == {reply.status for reply in replies}


def _write(file: Path, text: str) -> None:
    file.write_text(text)
