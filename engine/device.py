"""Which device computes. torch is asked only where there may be an accelerator: its import takes a second."""

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import DeviceError

DEVICE_PATTERN = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")


@dataclass(frozen=True, slots=True)
class Device:
    """A torch device, its name for people, and a sentence when it is not what was asked for."""

    torch_name: str
    shown: str
    note: str = ""

    @property
    def is_cpu(self) -> bool:
        """Whether the CPU solvers are used."""
        return self.torch_name == "cpu"


def choose_device(wanted: str) -> Device:
    """Turn `auto`, `cpu`, `cuda`, `cuda:N` or `mps` into a device of this machine; `auto` prefers CUDA.

    Raises:
        DeviceError: it is not there.
    """
    if not DEVICE_PATTERN.fullmatch(wanted):
        raise DeviceError(f"There is no device {wanted!r}.", "Use auto, cpu, cuda, cuda:N or mps.")
    if wanted == "mps":
        return Device("cpu", "cpu", "Apple GPUs have no fp64, which exact spectra need: computing on the CPU.")
    if wanted == "cpu" or (wanted == "auto" and not may_have_accelerator()):
        return Device("cpu", "cpu")
    import torch

    if wanted == "auto" and not torch.cuda.is_available():
        return Device("cpu", "cpu")
    if not torch.cuda.is_available():
        raise DeviceError(
            "PyTorch sees no CUDA device.",
            "Check nvidia-smi and that a CUDA build of PyTorch is installed, or use --device cpu.",
        )
    number = int(wanted.partition(":")[2] or 0)
    if number >= torch.cuda.device_count():
        raise DeviceError(
            f"There is no cuda:{number}: PyTorch sees {torch.cuda.device_count()} CUDA device(s), counted from 0.",
            "Use cuda:0, or check CUDA_VISIBLE_DEVICES.",
        )
    return Device(f"cuda:{number}", f"cuda:{number} ({torch.cuda.get_device_name(number)})")


def choose_devices(wanted: str) -> list[Device]:
    """Every device that `auto` or `cuda` means where several are visible; else the one of `choose_device`.

    Raises:
        DeviceError: it is not there.
    """
    first = choose_device(wanted)
    if first.is_cpu or wanted not in {"auto", "cuda"}:
        return [first]
    import torch

    return [choose_device(f"cuda:{number}") for number in range(torch.cuda.device_count())]


def may_have_accelerator() -> bool:
    """Whether PyTorch could find a CUDA or ROCm device: without their drivers it cannot, so it need not be asked."""
    if Path("/dev/kfd").exists():  # AMD's
        return True
    try:
        ctypes.CDLL("libcuda.so.1")  # which PyTorch itself would load
    except OSError:
        return False
    return True
