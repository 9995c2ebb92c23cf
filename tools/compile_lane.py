"""Hatch's build hook: compile what is in C where there is a compiler; without one pydns is installed all the same.

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

MODULES = ("_lane", "_ask")
FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra")


def command(root: Path, module: str, target: Path, flags: str = "") -> list[str] | None:
    """How to compile one of the modules; None without a compiler or without Python's headers."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    include = Path(sysconfig.get_path("include"))
    if shutil.which(compiler[0]) is None or not (include / "Python.h").is_file():
        return None
    return [
        *compiler,
        *FLAGS,
        *shlex.split(flags),
        f"-I{include}",
        str(root / f"resolver/{module}.c"),
        "-o",
        str(target),
    ]


def _target(module: str) -> str:
    return f"resolver/{module}.abi3.so"


class CompileLane(BuildHookInterface[Any]):
    """Adds what is compiled to a wheel, or to the source tree of an editable installation."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; whatever goes wrong is told, and leaves the lane out."""
        if self.target_name != "wheel" or os.environ.get("PYDNS_LANE") == "python":
            return
        targets = {module: Path(self.root, _target(module)) for module in MODULES}
        for module, target in targets.items():
            compile_it = command(Path(self.root), module, target, os.environ.get("CFLAGS", ""))
            if compile_it is None:
                self.app.display_warning(
                    "no C compiler, or no Python.h: pydns answers in Python alone, at twice the cost"
                )
                return
            try:
                subprocess.run(compile_it, check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as error:
                said = getattr(error, "stderr", "") or str(error)
                self.app.display_warning(
                    f"{module} was not compiled, pydns does without it, in Python alone: {said.strip()}"
                )
                for one in targets.values():
                    one.unlink(missing_ok=True)
                return
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        build_data["artifacts"].extend(map(_target, MODULES))

    def clean(self, versions: list[str]) -> None:
        """Take what was compiled away."""
        for module in MODULES:
            Path(self.root, _target(module)).unlink(missing_ok=True)
