"""Rewrites one resolv.conf in place and puts it back: the file, where ``resolvconf_text`` is its words.

The file is often a bind mount, so it keeps its inode: never renamed over, only written. It is opened once, while
pydns has its privileges, and kept open: putting it back needs none. Called by ``attachment``.
"""

from __future__ import annotations

import contextlib
import logging
import os

from resolver.attach import resolvconf_text as text
from resolver.attach.resolvconf_place import Place
from resolver.errors import AttachError
from resolver.forward.resolvconf import ResolvConf, parse

log = logging.getLogger(__name__)

_MODE = 0o644


class ResolvConfFile:
    """The resolv.conf of one container, before, while and after pydns answers for it."""

    def __init__(self, place: Place, address: str, seed: str) -> None:
        """Reads, changes nothing. ``seed`` gives search and options to a file that does not exist yet."""
        self.path = place.path
        self._place = place
        self._address = address
        self._seed = seed
        self._written: bytes | None = None
        self._former: str | None = None
        self._made_directories = 0
        if place.file is None:
            return
        found = _decode(_read(place.file))
        saved = text.saved_in(found)
        if saved is None:
            self._former = found
        elif address in parse(found).nameservers:
            # Left by a run that was killed: ours to put back, even if this run never gets to rewriting it.
            self._former, self._made_directories = saved.text, saved.made_directories
            self._written = _encode(found)
        else:
            self._former = text.without_record(found)
            log.warning("%s no longer points to %s: what it says now counts as the original", self.path, address)

    @property
    def former(self) -> ResolvConf:
        """What the file said before pydns; empty when there was no file."""
        return parse(self._former or "")

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What ``restore`` needs beyond an open file: a file that we made is removed from somebody's directory."""
        if self._former is not None or self._place.directory is None:
            return ()
        status = os.fstat(self._place.directory)
        own = status.st_uid == os.geteuid() and status.st_mode & 0o300 == 0o300
        return () if own or status.st_mode & 0o1003 == 0o003 else ("CAP_DAC_OVERRIDE",)

    def rewrite(self) -> None:
        """Point the file to our address; makes it, and its directory, when missing. AttachError when it cannot."""
        made = self._place.file is None
        try:
            if made:
                self._made_directories = self._place.create(_MODE)
            if self._former is None:
                wanted = _encode(text.created(self._seed, self._address, self._made_directories))
            else:
                wanted = _encode(text.rewritten(self._former, self._address))
            self._replace(wanted)
        except OSError as error:
            if made and self._place.file is not None:
                with contextlib.suppress(OSError):
                    self._remove()
            raise AttachError(
                f"{self.path} cannot be written: {error.strerror}; use --no-resolv-conf to leave it alone"
            ) from error
        self._written = wanted

    def restore(self) -> None:
        """Give the file its former content, or remove it if there was none.

        If somebody has changed it since, their change stays and only our nameserver goes: `resolvconf_text.edited`.

        Idempotent; raises OSError.
        """
        written, self._written = self._written, None
        if written is None or self._place.file is None:
            return
        if (current := _read(self._place.file)) != written:
            former = self._seed if self._former is None else self._former
            edited = text.edited(_decode(current), former, self._address)
            if edited is None:
                log.warning("%s was changed while pydns ran: left as it is", self.path)
            else:
                self._replace(_encode(edited))
                log.warning(
                    "%s was changed while pydns ran: the change stays, the nameservers are as before", self.path
                )
            return
        if self._former is not None:
            self._replace(_encode(self._former))
            return
        # `ip netns exec` binds the file itself, so running programs keep it: it then says what they had before.
        self._replace(_encode(self._seed))
        self._remove()

    def close(self) -> None:
        """Close what is held open; changes nothing."""
        self._place.close()

    def _replace(self, wanted: bytes) -> None:
        """Write in one go, then cut to length; blank lines cover what is left of a longer text until then."""
        file = self._place.file
        assert file is not None
        before = _read(file)
        if before == wanted:
            return
        try:
            _write(file, wanted + b"\n" * (len(before) - len(wanted)))
            os.ftruncate(file, len(wanted))
        except OSError:
            with contextlib.suppress(OSError):
                _write(file, before)
                os.ftruncate(file, len(before))
            raise

    def _remove(self) -> None:
        if not self._place.remove():
            log.warning("%s is another file now, or mounted on: left as it is", self.path)
            return
        with contextlib.suppress(OSError):  # someone else put something there
            for directory in list(self.path.parents)[: self._made_directories]:
                directory.rmdir()


def _read(file: int) -> bytes:
    chunks: list[bytes] = []
    offset = 0
    while chunk := os.pread(file, 65536, offset):
        chunks.append(chunk)
        offset += len(chunk)
    return b"".join(chunks)


def _write(file: int, content: bytes) -> None:
    offset = 0
    while offset < len(content):
        offset += os.pwrite(file, content[offset:], offset)


def _decode(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _encode(content: str) -> bytes:
    return content.encode("utf-8", "surrogateescape")
