"""Hatch's build hook: compile the fast lane where there is a compiler; without one pydns is installed all the same.

``PYDNS_LANE=python pip install .`` does not try. CFLAGS are respected (tests build with sanitizers so).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "resolver/_lane.c"
TARGET = "resolver/_lane.abi3.so"
FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra")


def command(root: Path, target: Path, flags: str = "") -> list[str] | None:
    """How to compile the lane; None without a compiler or without Python's headers."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    include = Path(sysconfig.get_path("include"))
    if shutil.which(compiler[0]) is None or not (include / "Python.h").is_file():
        return None
    return [*compiler, *FLAGS, *shlex.split(flags), f"-I{include}", str(root / SOURCE), "-o", str(target)]


class CompileLane(BuildHookInterface[Any]):
    """Adds the compiled lane to a wheel, or to the source tree of an editable installation."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; whatever goes wrong is told, and leaves the lane out."""
        if self.target_name != "wheel" or os.environ.get("PYDNS_LANE") == "python":
            return
        target = Path(self.root, TARGET)
        compile_it = command(Path(self.root), target, os.environ.get("CFLAGS", ""))
        if compile_it is None:
            self.app.display_warning("no C compiler, or no Python.h: pydns answers in Python alone, at twice the cost")
            return
        try:
            subprocess.run(compile_it, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            self.app.display_warning(f"the fast lane was not compiled, pydns answers in Python alone: {said.strip()}")
            target.unlink(missing_ok=True)
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        build_data["artifacts"].append(TARGET)

    def clean(self, versions: list[str]) -> None:
        """Take the compiled lane away."""
        Path(self.root, TARGET).unlink(missing_ok=True)
