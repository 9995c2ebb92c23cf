"""What attaching does beside the rules, for real: resolv.conf of a name and of a process, privileges, loopback."""

from __future__ import annotations

import ast
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from resolver.attach.attachment import Attachment
from resolver.attach.netns import default_gateways
from resolver.errors import AttachError
from tests.netns.test_attach_redirect import FIREWALLS, OURS, Lab

pytestmark = pytest.mark.root

HOST = Path("/etc/resolv.conf")


@pytest.fixture
def namespace() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture
def etc(namespace: Lab) -> Iterator[Path]:
    """The namespace's own folder in /etc/netns."""
    folder = Path("/etc/netns") / namespace.name
    folder.mkdir(parents=True)
    yield folder
    for entry in folder.iterdir():
        entry.unlink()
    folder.rmdir()


@contextmanager
def process(*start: str, root: Path = Path("/")) -> Iterator[int]:
    """The pid of a process that was started with ``start`` and sits in ``root`` until the end."""
    code = "import os, sys; os.chroot(sys.argv[1]); print(os.getpid(), flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [*start, sys.executable, "-c", code, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as started:
        assert started.stdout is not None
        yield int(started.stdout.readline())
        started.communicate()


def test_a_named_namespace_gets_a_file_and_loses_it_again(namespace: Lab) -> None:
    path = Path("/etc/netns") / namespace.name / "resolv.conf"
    with namespace.attach_and_serve() as attachment:
        assert path.stat().st_mode & 0o777 == 0o644
        seen = subprocess.run(["ip", "netns", "exec", namespace.name, "cat", HOST], capture_output=True, text=True)
        assert "\nnameserver 127.0.0.11\n" in seen.stdout
        assert "127.0.0.11" not in HOST.read_text()
        assert attachment.former_servers == ()
    assert not path.parent.exists()


def test_a_file_is_rewritten_in_place_and_put_back_to_the_byte(namespace: Lab, etc: Path) -> None:
    path = etc / "resolv.conf"
    original = b"nameserver 10.0.0.1\r\nnameserver 127.0.0.11\nsearch example.org\n# caf\xe9\noptions ndots:2"
    path.write_bytes(original)
    inode = path.stat().st_ino
    with namespace.attach_and_serve() as attachment:
        text = path.read_bytes()
        assert b"\nnameserver 127.0.0.11\nsearch example.org\noptions ndots:2\n" in text
        assert path.stat().st_ino == inode
        assert attachment.former_servers == ("10.0.0.1",)
    assert path.read_bytes() == original
    assert path.stat().st_ino == inode


def test_a_file_that_someone_changed_is_left_alone(namespace: Lab, etc: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = etc / "resolv.conf"
    path.write_text("nameserver 10.0.0.1\n")
    with namespace.attach_and_serve():
        path.write_text("nameserver 10.0.0.2\n")
    assert path.read_text() == "nameserver 10.0.0.2\n"
    assert "was changed while pydns ran" in caplog.text


def test_no_resolv_conf_leaves_it_but_reads_it(namespace: Lab, etc: Path) -> None:
    path = etc / "resolv.conf"
    path.write_text("nameserver 10.0.0.1\n")
    with Attachment.open(namespace.name, manage_resolv_conf=False) as attachment:
        attachment.install()
        assert attachment.former_servers == ("10.0.0.1",)
        assert path.read_text() == "nameserver 10.0.0.1\n"


def test_a_killed_run_is_put_back_by_the_next(namespace: Lab, etc: Path) -> None:
    path = etc / "resolv.conf"
    path.write_text("nameserver 10.0.0.1\n")
    code = (
        "import os, sys; from resolver.attach.attachment import Attachment\n"
        "Attachment.open(sys.argv[1]).install(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, namespace.name], check=False)
    left = path.read_text()
    assert "nameserver 127.0.0.11" in left
    with namespace.attach_and_serve() as attachment:
        assert attachment.former_servers == ("10.0.0.1",)
        assert path.read_text() == left
    assert path.read_text() == "nameserver 10.0.0.1\n"


def test_a_file_that_cannot_be_opened_leaves_no_rules(namespace: Lab, etc: Path) -> None:
    before = namespace.rules()
    os.mkfifo(etc / "resolv.conf")
    with pytest.raises(AttachError, match=r"it is not a plain file; use --no-resolv-conf"):
        Attachment.open(namespace.name)
    assert namespace.rules() == before


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    subprocess.run(["mount", "--bind", path, path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
        yield
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.parametrize(
    ("content", "warnings"),
    [("nameserver 10.0.0.1\n", 1), ("nameserver 127.0.0.11\n", 0)],
    ids=["of others", "names us"],
)
def test_a_read_only_file_is_left_and_the_namespace_served(
    namespace: Lab, etc: Path, caplog: pytest.LogCaptureFixture, content: str, warnings: int
) -> None:
    path = etc / "resolv.conf"
    path.write_text(content)
    with read_only(path), namespace.attach_and_serve() as attachment:
        assert namespace.answers() == {OURS}
        assert attachment.former.nameservers == (content.split()[1],)
        attachment.close()  # it holds the file, and so the mount
    assert path.read_text() == content
    assert caplog.text.count("is read-only: left alone") == warnings


def test_a_read_only_container_without_a_file_is_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    with (
        read_only(root),
        process("unshare", "--mount", "--net", root=root) as pid,
        Attachment.open(str(pid)) as attachment,
    ):
        attachment.install()
        rules = ["nsenter", "-t", str(pid), "-n", "nft", "list", "ruleset"]
        assert "pydns" in subprocess.run(rules, capture_output=True, text=True, check=True).stdout
        attachment.close()  # it holds the mount
    assert caplog.text.count("cannot be made, its directory is read-only: left alone") == 1
    assert not list((root / "etc").iterdir())


def test_a_failed_install_leaves_nothing(namespace: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    before = namespace.rules()
    attachment = namespace.attach()
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(AttachError, match="No space left on device"):
        attachment.install()
    monkeypatch.undo()

    assert namespace.rules() == before
    assert not (Path("/etc/netns") / namespace.name).exists()


def test_a_process_with_a_root_of_its_own(tmp_path: Path) -> None:
    """Links are followed as the container sees them, absolute ones too."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "run").mkdir()
    (root / "run/real").write_text("nameserver 10.0.0.1\nsearch a.example\n")
    (root / "etc/resolv.conf").symlink_to("/run/real")
    with process("unshare", "--mount", "--net", root=root) as pid:
        with Attachment.open(str(pid)) as attachment:
            attachment.install()
            assert (attachment.pid, attachment.former_servers) == (pid, ("10.0.0.1",))
            assert "nameserver 127.0.0.11\nsearch a.example" in (root / "run/real").read_text()
        assert (root / "run/real").read_text() == "nameserver 10.0.0.1\nsearch a.example\n"


def test_a_planted_link_does_not_reach_a_file_of_the_host(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("nameserver 10.0.0.9\n")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/resolv.conf").symlink_to(victim)
    with process("unshare", "--mount", "--net", root=root) as pid, Attachment.open(str(pid)) as attachment:
        attachment.install()
        assert victim.read_text() == "nameserver 10.0.0.9\n"
        assert attachment.former_servers == ()


def test_a_file_that_the_containers_root_cannot_write_is_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A container with a user namespace of its own has a link to a stranger's file on a mount that it only looks at."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    strangers = root / "secret"
    strangers.write_text("nameserver 10.0.0.9\n")
    strangers.chmod(0o600)
    os.chown(strangers, 12345, 12345)
    (root / "etc/resolv.conf").symlink_to("/secret")
    start = ("unshare", "--user", "--map-root-user", "--mount", "--net")
    with process(*start, root=root) as pid, Attachment.open(str(pid)) as attachment:
        attachment.install()
        assert strangers.read_text() == "nameserver 10.0.0.9\n"
        assert attachment.former_servers == ()
    assert "belongs to a user whom the container's user namespace does not have: left alone" in caplog.text


def test_a_file_of_a_user_namespaces_root_is_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "root/etc/resolv.conf"
    path.parent.mkdir(parents=True)
    path.write_text("nameserver 10.0.0.1\n")
    start = ("unshare", "--user", "--map-root-user", "--mount", "--net")
    with process(*start, root=tmp_path / "root") as pid, Attachment.open(str(pid)) as attachment:
        attachment.install()
        assert "nameserver 127.0.0.11\n" in path.read_text()
    assert path.read_text() == "nameserver 10.0.0.1\n"


def test_a_process_that_reads_the_hosts_file_does_not_get_it_changed(namespace: Lab) -> None:
    """`ip netns exec` gives a mount namespace of its own, in which /etc/resolv.conf is still the host's."""
    before = (HOST.read_bytes(), HOST.stat().st_mtime_ns)
    with process("ip", "netns", "exec", namespace.name) as pid, Attachment.open(str(pid)) as attachment:
        attachment.install()
        assert (HOST.read_bytes(), HOST.stat().st_mtime_ns) == before
    assert (HOST.read_bytes(), HOST.stat().st_mtime_ns) == before


def test_a_process_in_our_mount_namespace_keeps_the_hosts_file() -> None:
    before = HOST.read_bytes()
    with process("unshare", "--net") as pid, Attachment.open(f"/proc/{pid}/ns/net") as by_path:
        by_path.install()
        assert (by_path.pid, HOST.read_bytes()) == (None, before)
        by_path.close()
        with Attachment.open(str(pid)) as attachment:
            attachment.install()
            assert HOST.read_bytes() == before


def test_loopback_is_brought_up(namespace: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    namespace.attach()

    assert "brought the loopback interface up" in caplog.text
    assert "UP" in namespace.run("ip", "-br", "link", "show", "lo")


def test_default_gateways_of_the_namespace(namespace: Lab) -> None:
    for command in (
        "link add v0 type veth peer name v1",
        "link set v1 up",
        "link set v0 up",
        "address add 172.18.0.2/16 dev v0",
        "address add fd00:18::2/64 dev v0 nodad",
        "route add default via 172.18.0.9 metric 200",
        "route add default via 172.18.0.1 metric 100",
        "-6 route add default via fe80::1 dev v0 metric 50",
        "-6 route add default via fd00:18::1 metric 10",
        "route add unreachable 10.0.0.0/8",
    ):
        namespace.run("ip", *command.split())
    expected = tuple(map(ip_address, ("172.18.0.1", "172.18.0.9", "fd00:18::1", "fe80::1%v0")))

    assert namespace.inside(default_gateways) == expected
    attachment = namespace.attach()
    assert attachment.default_gateways == expected
    namespace.run("ip", "route", "del", "default", "via", "172.18.0.1")
    attachment.check()
    assert attachment.default_gateways == expected[1:]


DROPPED = """
import os, sys
from pathlib import Path
from resolver.attach.attachment import Attachment
a = Attachment.open(sys.argv[1], firewall=sys.argv[2])
a.install()
a.drop_privileges()
tasks = Path("/proc/self/task").iterdir()
lines = [(task / "status").read_text().splitlines() for task in tasks]
print(sorted(sorted({line.split()[1] for line in each if line.startswith("Cap")}) for each in lines), flush=True)
sys.stdin.readline()
print(a.check(), a.repairs, flush=True)
sys.stdin.readline()
a.close()
"""


@pytest.mark.parametrize("firewall", FIREWALLS)
def test_only_what_repairs_need_is_kept(namespace: Lab, firewall: str) -> None:
    """Repair and removal still work, with CAP_NET_ADMIN (bit 12) and, for iptables, CAP_NET_RAW (bit 13)."""
    with subprocess.Popen(
        [sys.executable, "-c", DROPPED, namespace.name, firewall],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        held = ast.literal_eval(child.stdout.readline())
        nothing, kept = "0" * 16, f"{0x1000 if firewall == 'nftables' else 0x3000:016x}"
        assert held == [[nothing], [nothing], [nothing, kept]]
        installed = namespace.rules()
        assert "pydns" in installed.lower()
        if firewall == "nftables":
            namespace.run("nft", "flush", "ruleset")
        else:
            namespace.run(firewall, "-t", "nat", "-F")
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "True 1\n"
        assert namespace.rules() == installed
        _, errors = child.communicate("\n", timeout=10)
    assert (child.returncode, errors.count("Traceback")) == (0, 0)
    assert "pydns" not in namespace.rules().lower()
    assert not (Path("/etc/netns") / namespace.name).exists()


UNPRIVILEGED = """
import os, sys
from resolver.attach.attachment import Attachment
from resolver.attach.privileges import keep_only
from resolver.errors import AttachError
if sys.argv[2] == "user":
    os.setgroups([])
    os.setresuid(65534, 65534, 65534)
else:
    keep_only(sys.argv[2:])
try:
    Attachment.open(sys.argv[1])
except AttachError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("left", "needed"),
    [
        (["user"], "CAP_SYS_ADMIN and CAP_NET_ADMIN"),
        (["CAP_NET_ADMIN"], "CAP_SYS_ADMIN"),
        (["CAP_SYS_ADMIN"], "CAP_NET_ADMIN"),
    ],
)
def test_a_missing_privilege_is_named(namespace: Lab, left: list[str], needed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED, namespace.name, *left], capture_output=True, text=True, check=True
    )

    assert done.stdout == (f"attaching to {namespace.name} needs {needed}; run as root, or give the process {needed}\n")


def test_a_file_that_is_no_namespace_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(AttachError, match=f"{path} is not a network namespace"):
        Attachment.open(str(path))


def test_without_any_firewall_command_one_is_asked_for(namespace: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(AttachError, match="no nft or iptables command was found; install nftables or iptables"):
        Attachment.open(namespace.name)


def test_another_run_may_attach_after_close(namespace: Lab) -> None:
    for _ in range(2):
        with namespace.attach_and_serve():
            assert namespace.answers() == {OURS}
