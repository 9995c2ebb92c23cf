"""hosts files (hosts(5)): an address and its names on each line, visible to every asker.

As every reader of such files does, a line that makes no sense is passed over; unlike them, not silently: it is reported
with its number. A name ``*.app`` is a wildcard (RFC 4592).
"""

from __future__ import annotations

from collections.abc import Iterator

from resolver.errors import Fault
from resolver.registry.model import Contribution, Host, Origin
from resolver.sources.base import Complain, Loaded, parse_address, parse_name, plain_ipv4
from resolver.wire.name import is_plain


def read(text: str, place: str) -> Loaded:
    """The contribution of one hosts file; its faults are warnings."""
    hosts: list[Host] = []
    faults: list[Fault] = []
    for number, line in enumerate(_lines(text), start=1):
        words = (line.partition("#")[0] if "#" in line else line).split()
        if len(words) == 2 and is_plain(words[1]) and (known := plain_ipv4(words[0])) is not None:
            hosts.append(Host(known, (words[1].removesuffix("."),), Origin(place, number)))  # as most lines are
            continue
        if not words:
            continue
        complain = _at(place, number, faults)
        if len(words) < 2:
            complain(f"{words[0]!r} stands alone", "write an address and then its names")
            continue
        address = parse_address(words[0], complain)
        names = tuple(name for word in words[1:] if (name := parse_name(word, complain, wildcard=True)) is not None)
        if address is not None and names:
            hosts.append(Host(address, names, Origin(place, number)))
    return Loaded(Contribution(place, hosts=tuple(hosts)), tuple(faults))


def _lines(text: str) -> Iterator[str]:
    """One after the other: a list of a million takes more than the text itself."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def _at(place: str, line: int, faults: list[Fault]) -> Complain:
    def complain(message: str, fix: str) -> None:
        faults.append(Fault(place, f"{message}; passed over", fix, line=line, is_warning=True))

    return complain
