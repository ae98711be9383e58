"""What the figures were measured on."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
import torch
from threadpoolctl import threadpool_info


def machine() -> str:
    """Processor, cores, memory, BLAS, versions and load, as a sentence."""
    versions = {name: version(name) for name in ("svdtui", "torch", "textual", "plotext")}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return (
        f"Measured on {processor()}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total / 1e9:.0f} GB, "
        f"{platform.system()} {platform.release()}; {', '.join(blas())}; Python {platform.python_version()}, "
        f"{', '.join(f'{name} {number}' for name, number in versions.items())}. "
        f"Load average before the first row: {load:.1f}."
    )


def processor() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        if names:
            return names[0]
    if platform.system() == "Darwin":
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        if asked.stdout.strip():
            return asked.stdout.strip()
    return platform.processor() or platform.machine()


def blas() -> list[str]:
    """The BLAS libraries that are loaded, with the kernels that they have chosen."""
    found = [
        f"numpy {np.__version__} with {library['internal_api']} {library.get('version') or ''} "
        f"({library.get('architecture') or 'unknown kernels'}, {library['num_threads']} threads)"
        for library in threadpool_info()
        if library["user_api"] == "blas"
    ]
    kind = "MKL" if torch.backends.mkl.is_available() else "its own BLAS"
    return [*found, f"torch with {kind} ({torch.get_num_threads()} threads)"]
