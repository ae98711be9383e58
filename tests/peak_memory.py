"""The peak memory of a Python program, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

LIMIT = 10**9
"""Bytes that no input makes a process take."""

_REPORT = """
import re as _re, sys as _sys
_sys.stderr.write(_re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""


def peak_of(program: str, *args: str | Path, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Bytes of memory that a program's text took at most, and what it printed; `args` are its `sys.argv[1:]`."""
    text = f"try:\n{_indented(program)}\nfinally:\n{_indented(_REPORT)}\n"
    done = subprocess.run(
        [sys.executable, "-c", text, *map(str, args)],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1]) * 1024, done.stdout


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines())
