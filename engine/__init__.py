"""Singular values of language-model weights, read one layer at a time from safetensors.

    from svdtui.engine import Analysis

    with Analysis("path/to/model") as analysis:
        sigma = analysis.spectrum("12.5.q")          # layer 12, head 5, Q: numpy float64, descending
        print(analysis.metrics("12.5.q").top_ratio)

Importing this package imports nothing else of it: what it names is imported when it is first used. Nothing here imports
a screen, and torch comes only with the first computation.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .address import Address, Scope
    from .analysis import Analysis
    from .cache_dir import default_cache_dir
    from .choices import DEFAULT_K, SOLVERS, Solver
    from .csv_export import candidates_csv, export, metrics_csv, spectra_csv, table_text, write_text
    from .errors import (
        AccessError,
        AddressError,
        CheckpointError,
        ChoiceError,
        ConfigError,
        DeviceError,
        EngineError,
        ExportError,
        HeaderError,
        LayoutError,
        ModelChangedError,
        ModelNotFoundError,
        NetworkError,
        OfflineError,
        OutputError,
        ReadError,
        ShardIndexError,
        TensorError,
        WorkerError,
        WorkersGoneError,
    )
    from .events import (
        DeviceKnown,
        Event,
        Failure,
        FiguresRead,
        HeaderRead,
        Noticed,
        Progress,
        Progressed,
        ScanEnded,
        ScanMoved,
        SlicesSolved,
        State,
        StateChanged,
        StatesChanged,
        Troubled,
    )
    from .job_request import JobRequest, Opening, compute_job
    from .metrics import METRICS, MetricInfo, Metrics
    from .model import HEADS, Job, MatrixInfo, Model
    from .opening import demo_path, download, open_model
    from .results import JobResult, MatrixResult
    from .scan import ScanProgress
    from .session import Session
    from .target import HubName, find_target
    from .text import printable
    from .views import Row, View, view, whole_view

__version__ = version("svdtui")

_HOMES = {
    "address": ("Address", "Scope"),
    "analysis": ("Analysis",),
    "cache_dir": ("default_cache_dir",),
    "choices": ("DEFAULT_K", "SOLVERS", "Solver"),
    "errors": (
        "AccessError",
        "AddressError",
        "CheckpointError",
        "ChoiceError",
        "ConfigError",
        "DeviceError",
        "EngineError",
        "ExportError",
        "HeaderError",
        "LayoutError",
        "ModelChangedError",
        "ModelNotFoundError",
        "NetworkError",
        "OfflineError",
        "OutputError",
        "ReadError",
        "ShardIndexError",
        "TensorError",
        "WorkerError",
        "WorkersGoneError",
    ),
    "csv_export": ("candidates_csv", "export", "metrics_csv", "spectra_csv", "table_text", "write_text"),
    "events": (
        *("DeviceKnown", "Event", "Failure", "FiguresRead", "HeaderRead", "Noticed"),
        *("Progress", "Progressed", "ScanEnded", "ScanMoved", "SlicesSolved", "State"),
        *("StateChanged", "StatesChanged", "Troubled"),
    ),
    "job_request": ("JobRequest", "Opening", "compute_job"),
    "metrics": ("METRICS", "MetricInfo", "Metrics"),
    "model": ("HEADS", "Job", "MatrixInfo", "Model"),
    "opening": ("demo_path", "download", "open_model"),
    "results": ("JobResult", "MatrixResult"),
    "scan": ("ScanProgress",),
    "session": ("Session",),
    "target": ("HubName", "find_target"),
    "text": ("printable",),
    "views": ("Row", "View", "view", "whole_view"),
}
"""Module → what it gives."""

__all__ = [
    "DEFAULT_K",
    "HEADS",
    "METRICS",
    "SOLVERS",
    "AccessError",
    "Address",
    "AddressError",
    "Analysis",
    "CheckpointError",
    "ChoiceError",
    "ConfigError",
    "DeviceError",
    "DeviceKnown",
    "EngineError",
    "Event",
    "ExportError",
    "Failure",
    "FiguresRead",
    "HeaderError",
    "HeaderRead",
    "HubName",
    "Job",
    "JobRequest",
    "JobResult",
    "LayoutError",
    "MatrixInfo",
    "MatrixResult",
    "MetricInfo",
    "Metrics",
    "Model",
    "ModelChangedError",
    "ModelNotFoundError",
    "NetworkError",
    "Noticed",
    "OfflineError",
    "Opening",
    "OutputError",
    "Progress",
    "Progressed",
    "ReadError",
    "Row",
    "ScanEnded",
    "ScanMoved",
    "ScanProgress",
    "Scope",
    "Session",
    "ShardIndexError",
    "SlicesSolved",
    "Solver",
    "State",
    "StateChanged",
    "StatesChanged",
    "TensorError",
    "Troubled",
    "View",
    "WorkerError",
    "WorkersGoneError",
    "candidates_csv",
    "compute_job",
    "default_cache_dir",
    "demo_path",
    "download",
    "export",
    "find_target",
    "metrics_csv",
    "open_model",
    "printable",
    "spectra_csv",
    "table_text",
    "view",
    "whole_view",
    "write_text",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used (PEP 562)."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
