"""What is compiled, built with AddressSanitizer and UBSan, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.fuzz.test_any_bytes import SECONDS, SEED
from tools.compile_lane import command

ROOT = Path(__file__).resolve().parents[2]
SANITIZERS = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"


def fed(module: str, driver: str, food: Path, folder: Path) -> str:
    """What the driver says that feeds a compiled module; fails when a sanitizer, or the driver, finds something."""
    built = folder / f"{module}.abi3.so"
    compile_it = command(ROOT, module, built, SANITIZERS)
    assert compile_it is not None, "a test machine has a compiler"
    subprocess.run(compile_it, check=True)
    libasan = subprocess.run(["gcc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
    ran = subprocess.run(
        [sys.executable, Path(__file__).with_name(driver), built, food, str(SECONDS), str(SEED)],
        env={
            "PATH": os.environ["PATH"],
            "LD_PRELOAD": libasan.stdout.strip(),
            "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",
            "PYTHONMALLOC": "malloc",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr[-6000:]}"
    return ran.stdout
