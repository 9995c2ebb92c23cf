"""Rewrites one resolv.conf in place and puts it back: the file, where ``resolvconf_text`` is its words.

The file is often a bind mount, so it keeps its inode: never renamed over, only written. It is opened once, while
pydns has its privileges, and kept open: putting it back needs none. A container's programs may write what they like
into it: nothing there is believed that they could gain by. Called by ``attachment``.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from typing import ClassVar
from weakref import WeakValueDictionary

from resolver.attach import resolvconf_text as text
from resolver.attach.resolvconf_place import Place
from resolver.errors import AttachError
from resolver.forward.resolvconf import ResolvConf, parse

log = logging.getLogger(__name__)

_MODE = 0o644
_LIMIT = 64 << 10
"""Bytes of the longest file that is read, or written."""
_TOO_LONG = "is larger than 64 KiB, so it is no resolv.conf"


class _Users:
    """Who of this process has one file point to us: several containers may mount the same."""

    _of_file: ClassVar[WeakValueDictionary[tuple[int, int], _Users]] = WeakValueDictionary()
    _guard: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self.lock = threading.Lock()
        """Held while the file is read and written: the last user puts it back, and never after a new one has come."""
        self.names: set[int] = set()

    @classmethod
    def of(cls, file: int) -> _Users:
        """Those of an open file, by whatever path it was opened."""
        status = os.fstat(file)
        with cls._guard:
            return cls._of_file.setdefault((status.st_dev, status.st_ino), cls())


class ResolvConfFile:
    """The resolv.conf of one container, before, while and after pydns answers for it."""

    def __init__(self, place: Place, address: str, seed: str) -> None:
        """Reads, changes nothing. ``seed`` gives search and options to a file that does not exist yet.

        AttachError when the file cannot be read.
        """
        self.path = place.path
        self._place = place
        self._address = address
        self._seed = seed
        self._written: bytes | None = None
        self._former: str | None = None
        self._made_directories = 0
        self._refusal = place.refusal
        self._points_to_us = False
        self._users = _Users()
        if place.file is None:
            if place.refusal is not None:
                self._former = ""
            return
        self._users = _Users.of(place.file)
        with self._users.lock:
            self._take_over(place.file)

    def _take_over(self, file: int) -> None:
        """Find out what the file said before us."""
        try:
            found = _decode(_read(file))
        except OSError as error:
            if error.errno != errno.EFBIG:
                raise AttachError(
                    f"{self.path} cannot be read: {error.strerror}; use --no-resolv-conf to leave it alone"
                ) from error
            self._former, self._refusal = "", _TOO_LONG
            return
        servers = parse(found).nameservers
        self._points_to_us = servers == (self._address,)
        saved = text.saved_in(found)
        if saved is None:
            self._former = found
        elif saved.text is None and not self._can_be_made_by_us(file, saved):
            self._former = text.without_record(found)
            log.warning(
                "%s says that pydns made it, which is not so: what it says now counts as the original", self.path
            )
        elif self._address in servers:
            # Left by a run that was killed: ours to put back, even if this run never gets to rewriting it.
            self._former, self._made_directories = saved.text, saved.made_directories
            if self._refusal is None:
                self._written = _encode(found)
                self._users.names.add(id(self))
        else:
            self._former = text.without_record(found)
            log.warning("%s no longer points to %s: what it says now counts as the original", self.path, self._address)

    def _can_be_made_by_us(self, file: int, saved: text.Saved) -> bool:
        """False for a record that a container's programs have written: with it they would have files removed."""
        if not self._place.is_containers:
            return True
        assert self._place.directory is not None
        owner, folder = os.fstat(file).st_uid, os.fstat(self._place.directory).st_uid
        return saved.made_directories == 0 and owner in (os.geteuid(), folder)

    @property
    def former(self) -> ResolvConf:
        """What the file said before pydns; empty when there was no file."""
        return parse(self._former or "")

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What ``restore`` needs beyond an open file: a file that we made is removed from somebody's directory."""
        if self._refusal is not None or self._former is not None or self._place.directory is None:
            return ()
        status = os.fstat(self._place.directory)
        own = status.st_uid == os.geteuid() and status.st_mode & 0o300 == 0o300
        return () if own or status.st_mode & 0o1003 == 0o003 else ("CAP_DAC_OVERRIDE",)

    @property
    def points_to_us(self) -> bool:
        """True when our address is the only one that the file names, whoever wrote it."""
        return self._points_to_us

    def rewrite(self) -> None:
        """Point the file to our address; makes it, and its directory, when missing. AttachError when it cannot.

        A file that is not to be written, or is none that could be, is left alone with one warning: the container is
        answered all the same once it names us.
        """
        if self._refusal is None:
            self._rewrite()
        if self._refusal is not None and not self._points_to_us:
            log.warning(
                "%s %s: left alone, so what names %s is answered, and nothing else", self.path, self._refusal,
                self._address,
            )  # fmt: skip

    def _rewrite(self) -> None:
        if len(self._wanted()) > _LIMIT:
            self._refusal = f"{_TOO_LONG} with what pydns keeps in it"
            return
        made = self._place.file is None
        try:
            if made:
                file, self._made_directories = self._place.create(_MODE)
                self._users = _Users.of(file)
            wanted = self._wanted()
            with self._users.lock:
                self._replace(wanted)
                self._users.names.add(id(self))
        except OSError as error:
            if made and self._place.file is not None:
                with contextlib.suppress(OSError):
                    self._remove()
            if made and error.errno == errno.EROFS:
                self._refusal, self._former = "cannot be made, its directory is read-only", ""
                return
            raise AttachError(
                f"{self.path} cannot be written: {error.strerror}; use --no-resolv-conf to leave it alone"
            ) from error
        self._written = wanted
        self._points_to_us = True

    def _wanted(self) -> bytes:
        if self._former is None:
            return _encode(text.created(self._seed, self._address, self._made_directories))
        return _encode(text.rewritten(self._former, self._address))

    def restore(self) -> None:
        """Give the file its former content, or remove it if there was none; the last of its users does that.

        If somebody has changed it since, their change stays and only our nameserver goes: `resolvconf_text.edited`.

        Idempotent; raises OSError.
        """
        written, self._written = self._written, None
        file = self._place.file
        with self._users.lock:
            self._users.names.discard(id(self))
            if written is None or file is None or self._users.names:
                return
            self._points_to_us = False
            self._restore(file, written)

    def _restore(self, file: int, written: bytes) -> None:
        try:
            current = _read(file)
        except OSError as error:
            if error.errno != errno.EFBIG:
                raise
            log.warning("%s was changed while pydns ran, and %s: left as it is", self.path, _TOO_LONG)
            return
        if current != written:
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
        """Close what is held open; changes nothing, not even with the last of the file's users."""
        with self._users.lock:
            self._users.names.discard(id(self))
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
    """The whole content; OSError (EFBIG) when it is larger than a resolv.conf is, however large: it is not read."""
    chunks: list[bytes] = []
    offset = 0
    while chunk := os.pread(file, _LIMIT + 1 - offset, offset):
        chunks.append(chunk)
        offset += len(chunk)
    if offset > _LIMIT:
        raise OSError(errno.EFBIG, "it is larger than 64 KiB")
    return b"".join(chunks)


def _write(file: int, content: bytes) -> None:
    offset = 0
    while offset < len(content):
        offset += os.pwrite(file, content[offset:], offset)


def _decode(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _encode(content: str) -> bytes:
    return content.encode("utf-8", "surrogateescape")
