"""The text of a resolv.conf that sends a container to 127.0.0.11, and the way back: pure text in, text out.

The former file is kept inside the new one as comment lines, every character of it. So the file needs no companion,
a run that was killed leaves all that the next one needs, and a person who opens it sees what was there. Text read with
``surrogateescape`` keeps its bytes. Called by ``resolvconf_file``, which does the I/O.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from resolver.forward.resolvconf import ResolvConf, parse

_HEADER = "# Written by pydns: names are answered at {address} in this network namespace."
_BEGIN = "# pydns-former-file: these lines, put back when pydns stops"
_ABSENT = "# pydns-former-file: none, removed when pydns stops; directories made: {count}"
_END = "# pydns-former-file: end"
_ABSENT_LINE = re.compile(re.escape(_ABSENT).replace(r"\{count\}", r"(\d)"))
_PREFIX = "#|"


class Saved(Struct, frozen=True):
    """What a file held before pydns wrote it."""

    text: str | None
    """The former text; None when there was no file."""
    made_directories: int = 0
    """How many directories were made for it, the file's own and those above."""


def rewritten(original: str, address: str) -> str:
    """``original`` with ``address`` as its only nameserver: search, options and unknown directives stay.

    ``ndots:0`` is added when there is no usable ndots, as Docker does, so that single-label names are asked for as
    they stand. A text that is already rewritten keeps the former text it carries.
    """
    saved = saved_in(original)
    if saved is not None and saved.text is None:
        return created(original, address, saved.made_directories)
    former = original if saved is None or saved.text is None else saved.text
    conf = parse(former)
    servers = " ".join(server for server in conf.nameservers if server != address) or "none"
    block = [f"# Former nameservers: {servers}", _BEGIN, *(_PREFIX + line for line in former.split("\n")), _END]
    return _text(conf, address, block)


def created(seed: str, address: str, made_directories: int) -> str:
    """The text for a file that did not exist: search, options and unknown directives come from ``seed``."""
    return _text(parse(seed), address, [_ABSENT.format(count=made_directories)])


def saved_in(text: str) -> Saved | None:
    """What ``text`` says of the file before it; None when pydns did not write it, or its record is damaged."""
    lines = text.split("\n")
    for index, line in enumerate(lines):
        if absent := _ABSENT_LINE.fullmatch(line):
            return Saved(None, int(absent[1]))
        if line == _BEGIN:
            return _former(lines[index + 1 :])
    return None


def without_record(text: str) -> str:
    """``text`` without what pydns keeps in it: what is left when a person has taken the file over."""
    kept: list[str] = []
    for line in text.split("\n"):
        is_mark = line in (_BEGIN, _END) or _ABSENT_LINE.fullmatch(line) is not None
        if not is_mark and not line.startswith((_PREFIX, "# Former nameservers: ", _HEADER.partition("{")[0])):
            kept.append(line)
    return "\n".join(kept)


def edited(current: str, former: str, address: str) -> str | None:
    """A rewritten file that somebody edited meanwhile, with the nameservers of ``former`` in place of ``address``.

    The edit stays, our record goes. None when the file does not name ``address`` any more, or has nothing of our
    record and our comments left: then somebody has written it whole, as Docker does, and what it names is theirs.
    """
    if without_record(current) == current:
        return None
    servers = [f"nameserver {server}" for server in parse(former).nameservers if server != address]
    kept: list[str] = []
    found = False
    for line in without_record(current).split("\n"):
        if line.split()[:2] == ["nameserver", address]:
            kept += [] if found else servers
            found = True
        else:
            kept.append(line)
    return "\n".join(kept) if found else None


def _former(lines: Sequence[str]) -> Saved | None:
    former: list[str] = []
    for line in lines:
        if line == _END:
            return Saved("\n".join(former)) if former else None
        if not line.startswith(_PREFIX):
            return None
        former.append(line.removeprefix(_PREFIX))
    return None


def _text(conf: ResolvConf, address: str, block: Sequence[str]) -> str:
    options = [*conf.options]
    if conf.ndots is None:
        options = [word for word in options if word.partition(":")[0] != "ndots"] + ["ndots:0"]
    lines = [_HEADER.format(address=address), f"nameserver {address}"]
    if conf.search:
        lines.append("search " + " ".join(conf.search))
    lines.append("options " + " ".join(options))
    # An indented comment is an unknown directive to a resolver; stripped, it could be read as a line of our record.
    lines += [line for line in conf.others if not line.startswith(("#", ";"))]
    return "\n".join([*lines, *block, ""])
