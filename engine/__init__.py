"""Singular values of language-model weights, read one layer at a time from safetensors.

    from svdtui.engine import Analysis

    with Analysis("path/to/model") as analysis:
        sigma = analysis.spectrum("12.5.q")          # layer 12, head 5, Q: numpy float64, descending
        print(analysis.metrics("12.5.q").top_ratio)

Importing this package imports neither torch nor anything of a screen.
"""

from importlib.metadata import version

from .address import Address, Scope
from .analysis import Analysis
from .errors import (
    AddressError,
    CheckpointError,
    ConfigError,
    DeviceError,
    EngineError,
    ExportError,
    HeaderError,
    LayoutError,
    ModelNotFoundError,
    ReadError,
    ShardIndexError,
    TensorError,
    WorkerError,
)
from .export import export, metrics_csv, spectra_csv, table_text, write_text
from .metrics import DEFAULT_K, METRICS, MetricInfo, Metrics
from .model import HEADS, Job, MatrixInfo, Model
from .opening import demo_path, open_model
from .results import JobResult, MatrixResult
from .session import DeviceKnown, Event, Failure, Noticed, Progress, Progressed, Session, State, StateChanged
from .spectrum import SOLVERS, Solver
from .store import default_cache_dir
from .text import printable
from .views import Row, View, view, whole_view

__version__ = version("svdtui")

__all__ = [
    "DEFAULT_K",
    "HEADS",
    "METRICS",
    "SOLVERS",
    "Address",
    "AddressError",
    "Analysis",
    "CheckpointError",
    "ConfigError",
    "DeviceError",
    "DeviceKnown",
    "EngineError",
    "Event",
    "ExportError",
    "Failure",
    "HeaderError",
    "Job",
    "JobResult",
    "LayoutError",
    "MatrixInfo",
    "MatrixResult",
    "MetricInfo",
    "Metrics",
    "Model",
    "ModelNotFoundError",
    "Noticed",
    "Progress",
    "Progressed",
    "ReadError",
    "Row",
    "Scope",
    "Session",
    "ShardIndexError",
    "Solver",
    "State",
    "StateChanged",
    "TensorError",
    "View",
    "WorkerError",
    "default_cache_dir",
    "demo_path",
    "export",
    "metrics_csv",
    "open_model",
    "printable",
    "spectra_csv",
    "table_text",
    "view",
    "whole_view",
    "write_text",
]
