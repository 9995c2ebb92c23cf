"""What the redirect rules say, as text: pure, so it can be read and tested without a kernel.

Four rules, the same ones Docker lays (research/docker-embedded-dns.md 3): what a program in the namespace sends to
127.0.0.11:53 goes to our ports, and what leaves our ports on its own account seems to come from port 53. They live
in a table (nftables) or in chains (iptables) that are ours alone; nothing else is ever named in a command.
Called by ``nftables`` and ``iptables``, which do the I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from msgspec import Struct

ADDRESS = "127.0.0.11"
"""Where programs in a container look for their resolver."""

NFT_TABLE = "pydns"

# Docker's redirects sit at -100 (iptables' nat table as well as its own nft table): whoever comes first translates.
NFT_OUTPUT_PRIORITY = -101
NFT_POSTROUTING_PRIORITY = 99

CHAIN_OUTPUT = "PYDNS_OUTPUT"
CHAIN_POSTROUTING = "PYDNS_POSTROUTING"
IPTABLES_CHAINS = frozenset((CHAIN_OUTPUT, CHAIN_POSTROUTING))
_JUMPS = (("OUTPUT", CHAIN_OUTPUT), ("POSTROUTING", CHAIN_POSTROUTING))

_NFT_DNAT = re.compile(r"\b(udp|tcp) dport 53\b.* dnat to [0-9.]+:(\d{1,5})\s*$")
_IPTABLES_DNAT = re.compile(rf"^-A {CHAIN_OUTPUT} .*-p (udp|tcp) .*--to-destination [0-9.]+:(\d{{1,5}})$")


class Redirect(Struct, frozen=True):
    """Which ports of ``address`` stand in for its port 53."""

    udp_port: int
    tcp_port: int
    address: str = ADDRESS


def nft_install(redirect: Redirect, *, replace: bool = True) -> str:
    """One file for ``nft -f -`` that puts our table in place, whatever of it was there before, in one transaction.

    The first line makes the second one valid when there is no table yet; both are part of the same transaction, so
    no packet meets a state in between. Without ``replace``, for when there is none, the kernel does not wait for
    packets that might still be in the former one.
    """
    to, at = redirect.address, redirect
    return (
        (nft_remove() if replace else "") + f"table ip {NFT_TABLE} {{\n"
        "\tchain output {\n"
        f"\t\ttype nat hook output priority {NFT_OUTPUT_PRIORITY}; policy accept;\n"
        f"\t\tip daddr {to} udp dport 53 counter dnat to {to}:{at.udp_port}\n"
        f"\t\tip daddr {to} tcp dport 53 counter dnat to {to}:{at.tcp_port}\n"
        "\t}\n"
        "\tchain postrouting {\n"
        f"\t\ttype nat hook postrouting priority {NFT_POSTROUTING_PRIORITY}; policy accept;\n"
        f"\t\tip saddr {to} udp sport {at.udp_port} counter snat to {to}:53\n"
        f"\t\tip saddr {to} tcp sport {at.tcp_port} counter snat to {to}:53\n"
        "\t}\n"
        "}\n"
    )


def nft_remove() -> str:
    """One file for ``nft -f -`` that takes our table away, and is no error when there is none."""
    return f"add table ip {NFT_TABLE}\ndelete table ip {NFT_TABLE}\n"


def nft_redirect(listing: str) -> Redirect | None:
    """The ports that a listing of our table redirects to; None when it does not hold both."""
    return _redirect(_NFT_DNAT.search(line) for line in listing.split("\n"))


def nft_form(listing: str, redirect: Redirect) -> str | None:
    """A listing of our table as it would be for any ports, to be filled in by `nft_filled`; None when it is unclear."""
    udp, tcp = str(redirect.udp_port), str(redirect.tcp_port)
    if nft_redirect(listing) != redirect or "@" in listing:
        return None
    form = re.sub(rf"\b{tcp}\b", "@tcp@", re.sub(rf"\b{udp}\b", "@udp@", listing))
    return form if (form.count("@udp@"), form.count("@tcp@")) == (2, 2) else None


def nft_filled(form: str, redirect: Redirect) -> str:
    """What nft prints for our table with these ports."""
    return form.replace("@udp@", str(redirect.udp_port)).replace("@tcp@", str(redirect.tcp_port))


def iptables_install(redirect: Redirect, listing: Sequence[str]) -> str:
    """Input for ``iptables-restore --noflush``: our chains filled anew, and the jumps to them put first.

    ``listing`` is what ``iptables -t nat -S`` prints now: the jumps in it are deleted in the same commit, so that
    they cannot double and are first again. A ``:CHAIN`` line empties a chain that exists.
    """
    to, at = redirect.address, redirect
    return _restore(
        [f":{chain} - [0:0]" for _, chain in _JUMPS]
        + _deleted_jumps(listing)
        + [f"-I {built_in} 1 -d {to}/32 -j {chain}" for built_in, chain in _JUMPS]
        + [
            f"-A {CHAIN_OUTPUT} -d {to}/32 -p udp -m udp --dport 53 -j DNAT --to-destination {to}:{at.udp_port}",
            f"-A {CHAIN_OUTPUT} -d {to}/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination {to}:{at.tcp_port}",
            f"-A {CHAIN_POSTROUTING} -s {to}/32 -p udp -m udp --sport {at.udp_port} -j SNAT --to-source :53",
            f"-A {CHAIN_POSTROUTING} -s {to}/32 -p tcp -m tcp --sport {at.tcp_port} -j SNAT --to-source :53",
        ]
    )


def iptables_remove(listing: Sequence[str]) -> str:
    """Input for ``iptables-restore --noflush`` that takes our jumps and chains away; ``""`` when there are none."""
    commands = _deleted_jumps(listing)
    chains = [chain for _, chain in _JUMPS if f"-N {chain}" in listing]
    commands += [f"-F {chain}" for chain in chains]
    commands += [f"-X {chain}" for chain in chains]
    return _restore(commands) if commands else ""


def iptables_redirect(listing: Sequence[str]) -> Redirect | None:
    """The ports that our chains in ``iptables -t nat -S`` redirect to; None when they do not hold both."""
    return _redirect(_IPTABLES_DNAT.search(line) for line in listing)


def iptables_state(listing: Sequence[str], address: str = ADDRESS) -> tuple[str, ...]:
    """Every line of ``iptables -t nat -S`` on which our redirect depends, in order: compare two to see a change.

    These are our chains, the jumps to them, and any rule for our address that stands before such a jump: it would
    decide first (dockerd puts its own jump in front when it starts after us).
    """
    state: list[str] = []
    jumped: set[str] = set()
    for line in listing:
        words = line.split()
        if len(words) < 2:
            continue
        built_in = words[1] if words[0] == "-A" and words[1] in ("OUTPUT", "POSTROUTING") else ""
        if _is_ours(line):
            state.append(line)
            jumped.add(built_in)
        elif built_in and built_in not in jumped and f"{address}/32" in words:
            state.append(line)
    return tuple(state)


def _is_ours(line: str) -> bool:
    """True for a line about our chains: their making, their rules, and whatever jumps to them."""
    words = line.split()
    return words[1] in (CHAIN_OUTPUT, CHAIN_POSTROUTING) or _target(words) in (CHAIN_OUTPUT, CHAIN_POSTROUTING)


def _target(words: Sequence[str]) -> str:
    for flag in ("-j", "-g"):
        if flag in words[:-1]:
            return words[words.index(flag) + 1]
    return ""


def _deleted_jumps(listing: Sequence[str]) -> list[str]:
    """Commands that delete every rule outside our chains that leads into them, doubled or altered ones as well."""
    ours = (CHAIN_OUTPUT, CHAIN_POSTROUTING)
    found: list[str] = []
    for line in listing:
        words = line.split()
        if len(words) > 2 and words[0] == "-A" and words[1] not in ours and _target(words) in ours:
            found.append("-D" + line[2:])
    return found


def _restore(commands: Iterable[str]) -> str:
    return "\n".join(["*nat", *commands, "COMMIT", ""])


def _redirect(matches: Iterable[re.Match[str] | None]) -> Redirect | None:
    ports = {match[1]: int(match[2]) for match in matches if match}
    udp, tcp = ports.get("udp", 0), ports.get("tcp", 0)
    return Redirect(udp, tcp) if 0 < udp < 65536 and 0 < tcp < 65536 else None
