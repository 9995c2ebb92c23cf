"""Which namespaces an agent is attached to, on disk: a start after a crash cleans up there, and nowhere else.

Other agents, and sidecars, have namespaces of their own; what a killed one of them left is for its own next start.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from resolver.agent.targets import Identity

log = logging.getLogger(__name__)

DEFAULT_FOLDER = Path("/run/pydns")


def folder() -> Path:
    """Where it is kept: what a service manager says (RUNTIME_DIRECTORY of systemd.exec(5)), else /run/pydns."""
    return Path(os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or DEFAULT_FOLDER)


class Remembered:
    """The namespaces of this run, and of one before it with the same daemons and the same list."""

    def __init__(self, about: Iterable[str], place: Path) -> None:
        """``about`` tells agents from each other: their daemons and their list."""
        digest = hashlib.sha256("\0".join(about).encode(errors="surrogateescape")).hexdigest()[:16]
        self.path = place / f"agent-{digest}.json"
        self.earlier = self._read()
        """Where an earlier run may have left something; nothing when it ended well."""
        self._now: set[Identity] = set()
        self._works = True

    def add(self, identity: Identity) -> None:
        """It is about to be changed."""
        if identity not in self._now:
            self._now.add(identity)
            self._write()

    def discard(self, identity: Identity) -> None:
        """It has been left as it was."""
        if identity in self._now:
            self._now.discard(identity)
            self._write()

    def forget_earlier(self, but: Iterable[Identity] = ()) -> None:
        """What the earlier run left has been taken over or away, ``but`` these."""
        kept = self.earlier & frozenset(but)
        if kept != self.earlier:
            self.earlier = kept
            self._write()

    def _read(self) -> frozenset[Identity]:
        try:
            return frozenset((int(device), int(inode)) for device, inode in json.loads(self.path.read_bytes()))
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError, TypeError) as error:
            log.warning("%s tells nothing of an earlier run, which is not cleaned up after: %s", self.path, error)
            return frozenset()

    def _write(self) -> None:
        """At once and in one step: whoever kills us leaves the file of before or of after."""
        fresh = self.path.with_suffix(f".{os.getpid()}")
        try:
            if identities := self._now | self.earlier:
                self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                fresh.write_text(json.dumps(sorted(identities)))
                fresh.replace(self.path)
            else:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            if self._works:
                log.warning("%s cannot be kept, so a start after a crash cleans up less: %s", self.path, error.strerror)
            self._works = False
        else:
            self._works = True
