"""Choosing a firewall, with commands that exist only as scripts in a folder."""

from __future__ import annotations

import errno
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resolver.attach import command, firewall, nfnetlink, nftables
from resolver.attach.command import GivenUp, OutOfDescriptors, run
from resolver.attach.plan import Redirect, nft_install
from resolver.errors import AttachError


class Commands:
    """A PATH of its own; ``add`` puts a shell script on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, script: str = "exit 0") -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def add_iptables(self, name: str, script: str = "exit 0", version: str = "nf_tables") -> None:
        self.add(name, f'[ "$1" = --version ] && echo "iptables v1.8.9 ({version})" && exit 0\n{script}')
        self.add(f"{name}-restore")


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(command, "_SYSTEM_DIRECTORIES", ())
    return Commands(tmp_path)


FAILS = "echo '# a warning' >&2; echo 'Could not process rule: Not supported' >&2; exit 1"


def test_auto_takes_nft(commands: Commands) -> None:
    commands.add("nft")
    commands.add_iptables("iptables")

    assert firewall.choose("auto").name == "nftables"


def test_auto_takes_iptables_when_nft_does_not_work(commands: Commands) -> None:
    commands.add("nft", FAILS)
    commands.add_iptables("iptables")

    assert firewall.choose("auto").name == "iptables"


def test_iptables_falls_back_to_the_variant_that_works(commands: Commands) -> None:
    commands.add_iptables("iptables", FAILS)
    commands.add_iptables("iptables-nft", FAILS)
    commands.add_iptables("iptables-legacy")

    assert firewall.choose("iptables").name == "iptables-legacy"


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("auto", "no nft or iptables command was found; install nftables or iptables"),
        ("nftables", "no nft command was found; install nftables"),
        ("iptables-legacy", "no iptables-legacy command was found; install iptables"),
        ("ufw", "there is no firewall 'ufw'; use one of auto, nftables, iptables, iptables-nft, iptables-legacy"),
    ],
)
@pytest.mark.usefixtures("commands")
def test_what_is_missing_is_named(wanted: str, text: str) -> None:
    with pytest.raises(AttachError, match=text):
        firewall.choose(wanted)


def test_why_none_works_is_said(commands: Commands) -> None:
    commands.add("nft", FAILS)
    with pytest.raises(AttachError, match=r"\(nftables: Could not process rule: Not supported\)"):
        firewall.choose("nftables")


def test_a_warning_is_no_failure(commands: Commands) -> None:
    commands.add_iptables("iptables", "echo '# Warning: iptables-legacy tables present' >&2")

    assert firewall.choose("iptables").problem() is None


@pytest.mark.parametrize(
    ("version", "others"), [("nf_tables", ["nftables", "iptables-legacy"]), ("legacy", ["nftables"])]
)
def test_others_never_share_the_rules_of_the_chosen(commands: Commands, version: str, others: list[str]) -> None:
    """Removing what "another" firewall left must not remove what was just installed."""
    commands.add("nft")
    commands.add_iptables("iptables", version=version)
    if version == "nf_tables":
        commands.add_iptables("iptables-nft")
    commands.add_iptables("iptables-legacy")

    assert [other.name for other in firewall.others(firewall.choose("iptables"))] == others


def test_a_command_that_hangs_is_ended(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    commands.add("nft", "exec /bin/sleep 30")
    monkeypatch.setattr(command, "TIMEOUT_S", 0.05)

    assert run((str(commands.folder / "nft"),)).complaint == "no end after 0.05 s"


def test_a_command_that_hangs_when_pydns_stops_is_ended_sooner(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.add("nft", "exec /bin/sleep 30")
    nft = str(commands.folder / "nft")
    monkeypatch.setattr(command, "_hurry", command._Hurry())
    monkeypatch.setattr(command, "HURRIED_S", 0.05)
    with ThreadPoolExecutor(1) as thread:
        under_way = thread.submit(run, (nft,))
        command.hurry(60)
        assert run((nft,)).complaint == "no end after 0.05 s"
        assert under_way.result(9).complaint == "no end after 0.05 s"  # and not after ten seconds
    command.hurry(-1)
    with pytest.raises(GivenUp):
        run((nft,))


def test_what_a_command_is_given_and_writes_is_whole_when_it_takes_long(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_LOOK_S", 0.01)
    commands.add("nft", "/bin/sleep 0.1; /bin/cat; echo end")

    assert run((str(commands.folder / "nft"),), "x" * 200_000).output == "x" * 200_000 + "end\n"


def test_too_many_open_files_is_no_fault_of_a_firewall(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    commands.add("nft")
    commands.add_iptables("iptables")
    tried: list[object] = []

    def popen(argv: object, **_: object) -> None:
        tried.append(argv)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(OutOfDescriptors, match=r"this process has too many open files; raise the limit \(LimitNOFILE="):
        firewall.choose("auto")
    assert len(tried) == 1


LISTING = nft_install(Redirect(1111, 2222), replace=False)


@pytest.mark.parametrize(
    ("generations", "listing", "is_learnt"),
    [
        ((5, 6, 6), LISTING, True),
        ((5, 7, 7), LISTING, False),
        ((5, 6, 7), LISTING, False),
        ((None, None, None), LISTING, False),
        ((5, 6, 6), LISTING.replace("\tchain post", "\tchain zz {\n\t}\n\tchain post"), False),
        ((5, 6, 6), LISTING.replace("\t}\n\tchain post", "\t\ttcp dport 80 drop\n\t}\n\tchain post"), False),
    ],
    ids=["ours alone", "changed before", "changed after", "unknown", "another chain", "another rule"],
)
def test_what_nft_prints_is_learnt_only_where_nobody_else_had_a_hand_in_it(
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    generations: tuple[int | None, ...],
    listing: str,
    is_learnt: bool,
) -> None:
    (commands.folder / "listing").write_text(listing)
    commands.add("nft", f'[ "$1" = -s ] && exec /bin/cat {commands.folder}/listing; exit 0')
    forms: dict[str | None, str | None] = {}
    told = iter(generations)
    monkeypatch.setattr(nftables, "_forms", forms)
    monkeypatch.setattr(nfnetlink, "generation", lambda: next(told))
    monkeypatch.setattr(nfnetlink, "tables", frozenset)
    nftables.Nftables().install(Redirect(1111, 2222))

    assert bool(forms) is is_learnt


def test_a_command_that_is_not_there_is_an_outcome() -> None:
    assert run(("/nowhere/nft",)).complaint == "cannot be run: No such file or directory"


def test_a_choice_for_many_namespaces_tries_only_once(commands: Commands) -> None:
    tried = commands.folder / "tried"
    commands.add("nft", f"echo once >> {tried}")
    choice = firewall.Choice()

    assert [choice("auto").name for _ in range(3)] == ["nftables"] * 3
    assert tried.read_text() == "once\n"
    choice.forget()
    assert choice("auto").name == "nftables"
    assert tried.read_text() == "once\nonce\n"


def test_a_choice_that_failed_is_made_again(commands: Commands) -> None:
    commands.add("nft", FAILS)
    choice = firewall.Choice()
    with pytest.raises(AttachError, match="Not supported"):
        choice("nftables")
    commands.add("nft")
    assert choice("nftables").name == "nftables"
