"""Who serves in a namespace, by the kernel's table of UDP sockets."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from resolver.attach.sockets import Taken, servers_there, take_lock

HEADER = (
    "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer\n"
)
ROW = "  120: {}:{:04X} {} 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 0\n"
DOCKERS, ANY, LOCALHOST = (
    ("0B00007F", "00000000", "0100007F")
    if sys.byteorder == "little"
    else (
        "7F00000B",
        "00000000",
        "7F000001",
    )
)
NOBODY = "00000000:0000"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], False),
        ([(DOCKERS, 41234, NOBODY)], True),
        ([(ANY, 53, NOBODY)], True),
        ([(DOCKERS, 40000, NOBODY)], False),
        ([(ANY, 5353, NOBODY), (LOCALHOST, 53, NOBODY)], False),
        ([(DOCKERS, 41234, "0100007F:0035")], False),
        ([(DOCKERS, 40000, NOBODY), (DOCKERS, 41234, NOBODY)], True),
    ],
    ids=["nobody", "docker", "everywhere", "ours", "elsewhere", "a client", "docker beside us"],
)
def test_servers_there(tmp_path: Path, rows: list[tuple[str, int, str]], expected: bool) -> None:
    table = tmp_path / "udp"
    table.write_text(HEADER + "".join(ROW.format(*row) for row in rows))

    assert servers_there((40000,), table) is expected


HOLDS = """
import socket, sys
held = socket.socket(socket.AF_UNIX)
held.bind(chr(0) + sys.argv[1])
held.listen()
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.root
def test_a_program_that_keeps_us_out_is_not_called_pydns() -> None:
    name = f"pydns-test-{secrets.token_hex(8)}"
    command = ["setpriv", "--reuid", "65534", "--clear-groups", "/usr/bin/python3", "-c", HOLDS, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdout.readline()
        with pytest.raises(Taken, match=rf"a program that is not pydns holds .*\(uid 65534, pid {program.pid}\)"):
            take_lock(name)
        program.stdin.close()
    with take_lock(name), pytest.raises(Taken, match=rf"another pydns already serves .*\(pid {os.getpid()}\)"):
        take_lock(name)
