"""Finds the resolv.conf that the programs of a network namespace read, and opens it; never the host's own.

Inside a container's root every symbolic link is resolved as the container sees it (openat2(2) with RESOLVE_IN_ROOT):
an absolute link, or one planted on purpose, must not lead to a file of the host. Nor is a file written there that the
container's own root could not write: pydns may more than it, and would do it a favour.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import stat
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from resolver.attach.netns import PROC, Target
from resolver.errors import AttachError

log = logging.getLogger(__name__)

HOST = Path("/etc/resolv.conf")
NETNS_ETC = Path("/etc/netns")

_SYS_OPENAT2 = 437  # the same number on every architecture that Python runs on
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10
_OPEN_HOW = struct.Struct("=QQQ")
_PATH_ONLY = os.O_PATH | os.O_CLOEXEC
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO in linux/proc_ns.h

_NOT_ASKED = "is not to be written"
_READ_ONLY = "is read-only"
_NOT_THEIRS = "belongs to a user whom the container's user namespace does not have"


class Place(Struct):
    """Where a resolv.conf is, or will be made; owns the descriptors."""

    path: Path
    """Its path, for messages; inside a container's root it is not to be opened by it."""
    file: int | None
    """The file, open for reading and (unless there is a ``refusal``) writing; None while it does not exist."""
    directory: int | None
    """Its directory; None while that does not exist."""
    refusal: str | None = None
    """Why nothing is to be written or made here, to follow the path in a message; None when it may be."""
    is_containers: bool = False
    """True in the root of a process: whoever runs there may have written what is in the file."""
    owner: tuple[int, int] | None = None
    """The user and the group that a file made here is given to; None: it stays ours."""

    def create(self, mode: int) -> tuple[int, int]:
        """Make the file and what is missing of its directories; the file, and how many those were. Raises OSError."""
        made: list[Path] = []
        try:
            if self.directory is None:
                for folder in reversed([folder for folder in self.path.parents if not folder.exists()]):
                    folder.mkdir()
                    folder.chmod(0o755)  # whatever the umask: every program of the container reads what is in it
                    made.append(folder)
                self.directory = os.open(self.path.parent, _PATH_ONLY | os.O_DIRECTORY)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self.file = os.open(self.path.name, flags, mode, dir_fd=self.directory)
            os.fchmod(self.file, mode)
            if self.owner is not None:
                with contextlib.suppress(PermissionError):  # without CAP_CHOWN it stays ours, and is read all the same
                    os.fchown(self.file, *self.owner)
        except OSError:
            with contextlib.suppress(OSError):
                self.remove()
                for folder in reversed(made):
                    folder.rmdir()
            raise
        return self.file, len(made)

    def remove(self) -> bool:
        """Take the file away; False when its name now stands for something else. Raises OSError.

        A name that something is mounted on is left: unlinking it from here would remove what lies beneath.
        """
        if self.directory is None or self.file is None:
            return False
        there = os.open(self.path.name, _PATH_ONLY | os.O_NOFOLLOW, dir_fd=self.directory)
        try:
            is_ours = os.path.samestat(os.fstat(there), os.fstat(self.file))
            is_mounted = _mount_id(there) != _mount_id(self.directory)
        finally:
            os.close(there)
        if not is_ours or is_mounted:
            return False
        os.unlink(self.path.name, dir_fd=self.directory)
        return True

    def close(self) -> None:
        """Close the descriptors; idempotent."""
        for descriptor in (self.file, self.directory):
            if descriptor is not None:
                os.close(descriptor)
        self.file = self.directory = None


def locate_resolv_conf(
    target: Target,
    explicit: Path | None = None,
    *,
    writable: bool = True,
    proc: Path = PROC,
    netns_etc: Path = NETNS_ETC,
    host: Path = HOST,
) -> Place | None:
    """The resolv.conf of ``target``, opened; None when it has none but the host's, which is never touched.

    ``explicit`` wins; for a name it is /etc/netns/NAME/resolv.conf, which ``ip netns exec`` puts in place; for a
    process it is the one in its root, if that is not our own; for our own namespace it is ``host`` where that is
    mounted for itself, as in every container. AttachError when it cannot be opened.
    """
    if explicit is not None:
        # Inside a container, serving its own namespace, what is the host's file to us is the container's.
        if _is_same(explicit, host) and not _is_same(target.path, proc / "self/ns/net"):
            link = "a link to " if explicit.is_symlink() else ""
            raise AttachError(f"{explicit} is {link}the host's own {host}; name a file of the container")
        if not explicit.parent.is_dir():
            raise AttachError(f"{explicit} cannot be made: there is no directory {explicit.parent}")
        return _open_place(explicit, writable)
    if target.name is not None:
        path = netns_etc / target.name / host.name
        if _is_same(path, host):
            log.warning("%s is the host's own %s: left alone", path, host)
            return None
        return _open_place(path, writable)
    if target.is_own:
        if _is_mount_point(host):
            return _open_place(host, writable)
        log.warning(
            "%s is not mounted by itself, so it may be the host's own: left alone; --resolv-conf names one", host
        )
        return None
    if target.pid is None:
        return None
    process = proc / str(target.pid)
    if _is_same(process / "ns/mnt", proc / "self/ns/mnt") and _is_same(process / "root", proc / "self/root"):
        return None
    path = process / "root" / "etc" / host.name
    with contextlib.ExitStack() as undo:
        try:
            # One descriptor for all that is asked of the process: its number may soon be another's.
            folder = os.open(process, _PATH_ONLY | os.O_DIRECTORY)
            undo.callback(os.close, folder)
            root = os.open("root", _PATH_ONLY | os.O_DIRECTORY, dir_fd=folder)
            undo.callback(os.close, root)
        except OSError as error:
            raise _cannot("opened", process / "root", error) from error
        place = Place(path, None, None, None if writable else _NOT_ASKED, is_containers=True)
        hosts = _files_of_the_host(host, proc, process)
        try:
            found = _fill(place, root, hosts, _foreign_owners(folder, proc))
        except OSError as error:
            place.close()
            raise _cannot("opened for writing" if writable else "opened", path, error) from error
        if not found:
            place.close()
        return place if found else None


def _open_place(path: Path, writable: bool) -> Place:
    place = Place(path.absolute(), None, None, None if writable else _NOT_ASKED)
    try:
        if path.parent.is_dir():
            place.directory = os.open(path.parent, _PATH_ONLY | os.O_DIRECTORY)
            _reopen(place, os.open(path, _PATH_ONLY))
    except FileNotFoundError:
        if path.is_symlink():
            place.close()
            raise AttachError(
                f"{path} is a link to a file that does not exist; mend it or use --no-resolv-conf"
            ) from None
    except OSError as error:
        place.close()
        raise _cannot("opened for writing" if writable else "opened", path, error) from error
    return place


def _fill(place: Place, root: int, hosts: Sequence[_HostFile], is_foreign: Callable[[int], bool]) -> bool:
    """Open ``/etc/resolv.conf`` below the directory ``root``; False when it is the host's or leads nowhere."""
    path = place.path
    try:
        place.directory = _openat2(root, "etc", _PATH_ONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        log.warning("%s cannot be made, the container has no directory for it: left alone", path)
        return False
    folder = os.fstat(place.directory)
    try:
        found = _openat2(root, f"etc/{path.name}", _PATH_ONLY)
    except FileNotFoundError:
        # `ip netns exec` gives a process a mount namespace of its own that shows the host's /etc.
        shares_etc = any(os.path.samestat(folder, each.folder) for each in hosts)
        if shares_etc or _is_entry(path.name, place.directory):
            log.warning("%s does not exist, and cannot be made for the container alone: left alone", path)
            return False
        if is_foreign(folder.st_uid):
            log.warning("%s does not exist, and its directory %s: left alone", path, _NOT_THEIRS)
            return False
        # Ours, it would be a stranger's there, and the next run would leave it for that.
        place.owner = (folder.st_uid, folder.st_gid) if is_foreign(os.geteuid()) else None
        return True
    status = os.fstat(found)
    if any(each.file is not None and os.path.samestat(status, each.file) for each in hosts):
        log.warning("%s is the host's own %s: left alone", path, HOST)
        os.close(found)
        return False
    if is_foreign(status.st_uid):
        place.refusal = place.refusal or _NOT_THEIRS
        if not status.st_mode & stat.S_IROTH:  # nor is it for the container to have it read
            os.close(found)
            return True
    _reopen(place, found)
    return True


def _reopen(place: Place, found: int) -> None:
    """Open ``found`` for use, if it is a plain file: opening a device or a pipe would already do something.

    Without waiting: who holds a lease on the file (fcntl(2)) could make it last 45 seconds. Raises OSError.
    """
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file")
        again, flags = f"/proc/self/fd/{found}", os.O_NONBLOCK | os.O_CLOEXEC
        if place.refusal is None:
            try:
                place.file = os.open(again, os.O_RDWR | flags)
            except OSError as error:
                if error.errno != errno.EROFS:
                    raise
                place.refusal = _READ_ONLY
        if place.file is None:
            place.file = os.open(again, os.O_RDONLY | flags)
    except BlockingIOError as error:
        raise OSError(error.errno, "another process holds a lease on it") from error
    finally:
        os.close(found)


class _HostFile(Struct, frozen=True):
    file: os.stat_result | None
    folder: os.stat_result


def _files_of_the_host(host: Path, proc: Path, process: Path) -> list[_HostFile]:
    """Our own resolv.conf and, for pydns may be in a container that sees the host's processes, that of process 1."""
    found: list[_HostFile] = []
    with contextlib.suppress(OSError):
        found.append(_HostFile(host.stat() if host.exists() else None, host.parent.stat()))
    if _is_same(process / "ns/mnt", proc / "1/ns/mnt") and not _is_initial(proc):
        return found  # process 1 is the container's own: pydns has joined its processes (--pid container:NAME)
    with contextlib.suppress(OSError), contextlib.ExitStack() as undo:
        root = os.open(proc / "1/root", _PATH_ONLY | os.O_DIRECTORY)
        undo.callback(os.close, root)
        folder = _openat2(root, "etc", _PATH_ONLY | os.O_DIRECTORY)
        undo.callback(os.close, folder)
        try:
            file = _openat2(root, f"etc/{host.name}", _PATH_ONLY)
        except FileNotFoundError:
            found.append(_HostFile(None, os.fstat(folder)))
        else:
            undo.callback(os.close, file)
            found.append(_HostFile(os.fstat(file), os.fstat(folder)))
    return found


def _is_initial(proc: Path) -> bool:
    """True when the machine's own process 1 is the one that we see."""
    try:
        return (proc / "self/ns/pid").stat().st_ino == _INITIAL_PID_NAMESPACE
    except OSError:
        return False


def _foreign_owners(process: int, proc: Path) -> Callable[[int], bool]:
    """Tells the users whose files the root of a process's user namespace cannot write (user_namespaces(7)).

    A user who is mapped is one that it can become, whatever the file's group and mode.
    """

    def is_foreign(uid: int) -> bool:
        # Of our own namespace the file would tell the numbers outside; and without any, there is no such file.
        own = proc / "self"
        if not (own / "uid_map").exists() or os.path.samestat(
            os.stat("ns/user", dir_fd=process), os.stat(own / "ns/user")
        ):
            return False
        with open(os.open("uid_map", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)) as table:
            ranges = [(int(first), int(count)) for _, first, count in (line.split() for line in table)]
        return not any(first <= uid < first + count for first, count in ranges)

    return is_foreign


def _is_mount_point(path: Path) -> bool:
    """True when something is mounted on this very name, and no link leads elsewhere."""
    try:
        with contextlib.ExitStack() as undo:
            mounts = []
            for place, flags in ((path, os.O_NOFOLLOW), (path.parent, os.O_DIRECTORY)):
                descriptor = os.open(place, _PATH_ONLY | flags)
                undo.callback(os.close, descriptor)
                mounts.append(_mount_id(descriptor))
    except OSError:
        return False
    return mounts[0] != mounts[1]


def _mount_id(descriptor: int) -> str:
    for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines():
        if line.startswith("mnt_id:"):
            return line.split()[1]
    return ""


def _openat2(root: int, path: str, flags: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    how = _OPEN_HOW.pack(flags, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    opened: int = libc.syscall(
        ctypes.c_long(_SYS_OPENAT2), ctypes.c_long(root), os.fsencode(path), how, ctypes.c_size_t(_OPEN_HOW.size)
    )
    if opened < 0:
        code = ctypes.get_errno()
        if code == errno.ENOSYS:
            raise OSError(code, "needs openat2, Linux 5.6 or later")
        raise OSError(code, os.strerror(code))
    return opened


def _is_entry(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_same(one: Path, other: Path) -> bool:
    try:
        return os.path.samestat(os.stat(one), os.stat(other))
    except OSError:
        return False


def _cannot(what: str, path: Path, error: OSError) -> AttachError:
    return AttachError(f"{path} cannot be {what}: {error.strerror}; use --no-resolv-conf to leave it alone")
