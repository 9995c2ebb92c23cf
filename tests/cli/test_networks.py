"""`pydns networks`: what the registry holds."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.program import TWO, pydns
from tests.scenarios.conftest import Serve


def test_every_network_and_who_is_on_it(folder: Path) -> None:
    (folder / "hosts").write_text("192.0.2.7 printer printer.corp\n")
    done = pydns("networks", "--registry", "two.toml", "--registry", "hosts", cwd=folder)
    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.splitlines() == [
        "front  10.1.0.0/24  gateway 10.1.0.1  (two.toml:1)",
        "  10.1.0.2  web www abcdefabcdef w *.web  ports 80/tcp  links redis=cache  (two.toml:5)",
        "  10.1.0.3  cache  (two.toml:14)",
        "back  10.2.0.0/24  internal  (two.toml:17)",
        "  10.2.0.2  db  (two.toml:21)",
        "192.0.2.7  printer printer.corp  (hosts:1)",
        "told by the files (named on the command line)",
    ]


def test_an_empty_registry(folder: Path) -> None:
    (folder / "none.toml").write_text("")
    done = pydns("networks", "--registry", "none.toml", cwd=folder)
    assert done.stdout == "the registry is empty\ntold by the files (named on the command line)\n"


def test_the_files_and_the_running_server_agree(serve: Serve) -> None:
    server = serve(registry={"two.toml": TWO})
    at = server.http.removeprefix("http://")
    live = json.loads(pydns("networks", "-c", str(server.config), "--metrics", at, "--json").stdout)
    offline = json.loads(pydns("networks", "-c", str(server.config), "--offline", "--json").stdout)
    assert (f"the server at {at}", "the files (--offline)") == (live.pop("source"), offline.pop("source"))
    assert live == offline
    assert [network["name"] for network in live["networks"]] == ["front", "back"]
    assert live["networks"][0]["endpoints"][0]["links"] == {"redis": "cache"}
