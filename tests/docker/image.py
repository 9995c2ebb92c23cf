"""The image that the tests' containers are made of: busybox and an /etc, built without a registry."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

BASE = "pydns-test/base"
ENDS_AT_ONCE = ("/bin/sh", "-c", "trap 'exit 0' TERM; sleep infinity & wait")
"""A first process that heeds SIGTERM: a bare `sleep` ignores it there, and each stop would take ten seconds."""

_FOLDERS = ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/bin")
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_PATH_IN_LDD = re.compile(r"(?:=> |^\s*)(/\S+)", re.MULTILINE)


def base_image() -> bytes:
    """The image's files as a tar archive, about 2 MB, for `docker import`."""
    found = shutil.which("busybox")
    if found is None:
        raise FileNotFoundError("busybox is not installed: tools/debian.sh test")
    busybox = Path(found)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for folder in _FOLDERS:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, text in _FILES.items():
            _add(tar, name, text.encode(), 0o644)
        _add(tar, "bin/busybox", busybox.read_bytes(), 0o755)
        for applet in _output(found, "--list").split():
            if applet != "busybox":
                entry = tarfile.TarInfo(f"bin/{applet}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
        # Debian's other busybox package is not static: it brings its libraries, busybox-static has none
        for library in _PATH_IN_LDD.findall(_output("ldd", found)):
            _add(tar, library.lstrip("/"), Path(library).read_bytes(), 0o755)
    return archive.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
