"""A host and a container in folders, for what is done to resolv.conf."""

from __future__ import annotations

from pathlib import Path

from resolver.attach.netns import Target
from resolver.attach.resolvconf_file import ResolvConfFile
from resolver.attach.resolvconf_place import Place, locate_resolv_conf

SEED = "nameserver 192.0.2.53\nsearch host.example\n"


class Machine:
    """A host with /etc, /etc/netns and /proc below one folder, and a process 7 with its own root."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.host = top / "etc/resolv.conf"
        self.netns = top / "etc/netns"
        self.proc = top / "proc"
        self.root = top / "container"
        self.root_etc = self.root / "etc"
        for folder in (self.netns, self.root_etc, self.proc / "self/ns", self.proc / "7/ns"):
            folder.mkdir(parents=True)
        self.host.write_text(SEED)
        (self.proc / "self/root").symlink_to(top)
        (self.proc / "7/root").symlink_to(self.root)
        (self.proc / "self/ns/mnt").touch()
        (self.proc / "7/ns/mnt").touch()
        self.open: list[Place] = []

    def locate(self, target: Target, explicit: Path | None = None, *, writable: bool = True) -> Place | None:
        place = locate_resolv_conf(
            target, explicit, writable=writable, proc=self.proc, netns_etc=self.netns, host=self.host
        )
        if place is not None:
            self.open.append(place)
        return place

    def file(self, target: Target, explicit: Path | None = None) -> ResolvConfFile:
        place = self.locate(target, explicit)
        assert place is not None
        return ResolvConfFile(place, "127.0.0.11", SEED)


NAME = Target(Path("/run/netns/web"), "web", name="web")
PROCESS = Target(Path("/proc/7/ns/net"), "process 7", pid=7)
PATH = Target(Path("/some/where"), "/some/where")
SELF = Target(Path("/proc/self/ns/net"), "self", is_own=True)
