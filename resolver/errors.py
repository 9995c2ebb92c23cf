"""The exception tree of pydns, whole on one screen.

Expected outcomes (NXDOMAIN, "not ours", no answer yet) are values and never exceptions. What is raised here is caught
in three places only: the command line (one line to the user), the reload of a file (the last good state serves on), and
the server's edge (SERVFAIL or FORMERR and a counter).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


class PydnsError(Exception):
    """Anything that pydns itself raises; its text is a sentence for a person."""


def one_line(text: str) -> str:
    """The text with every control character, line break and invisible character written as an escape (``\\n``)."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


@dataclass(frozen=True, slots=True)  # no struct: `pydns --help` needs no msgspec
class Fault:
    """One thing that is wrong with what somebody wrote: where it stands, what it is, and how to mend it."""

    place: str
    """The file, or what stands for it (``--listen``, ``PYDNS_LISTEN``)."""
    message: str
    """What is wrong, with the offending value."""
    fix: str = ""
    """What to write instead."""
    line: int | None = None
    """1-based line in the file, if one is known."""
    key: str = ""
    """The dotted key in the file, if there is one."""
    is_warning: bool = False
    """True when the input is accepted all the same, by a stated rule."""

    def __str__(self) -> str:
        where = self.place if self.line is None else f"{self.place}:{self.line}"
        subject = f" {self.key}:" if self.key else ""
        hint = f" ({self.fix})" if self.fix else ""
        kind = " warning:" if self.is_warning else ""
        return one_line(f"{where}:{kind}{subject} {self.message}{hint}")

    def without_kind(self) -> str:
        """The same without the word warning, for where that is said already."""
        return str(replace(self, is_warning=False))


class InputError(PydnsError):
    """Something that a person wrote cannot be used; carries every fault found, not only the first."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class ConfigError(InputError):
    """The configuration (file, environment or flags) cannot be used."""


class WireError(PydnsError):
    """A peer sent bytes that are not a DNS message (RFC 1035 4)."""


class StartError(PydnsError):
    """The program cannot start: a port is taken, a privilege is missing."""


class AttachError(StartError):
    """A network namespace cannot be entered, or its rules or resolv.conf cannot be changed."""
