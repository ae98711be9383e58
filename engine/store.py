"""Results on disk: `ROOT/v2/MODEL KEY/SOLVER/layer-00012.heads.safetensors`, one file per job.

Written to a temporary file beside it, synced and renamed: a reader sees the old file, the new one or none, so two
programs and network file systems need no locks. A file is believed only when it parses, its checksum is right and it
says that it was computed from the same tensors, with the same bytes in a sample of each; otherwise it counts as
absent. The solver is part of the path, so that two programs with different solvers do not replace each other's results.
"""

import contextlib
import hashlib
import json
import os
import struct
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from .atomic import write_atomically
from .cache_dir import NOWHERE, default_cache_dir
from .choices import Solver
from .errors import ReadError
from .model import Job, Model
from .private import close_to_others, make_private, sweep
from .results import JobResult, MatrixResult, expected_shapes

FORMAT = "svdtui-2"
_SIZE_CAP = 2**28
_HEAD = struct.Struct("<Q")


class Store:
    """The results of one model and solver."""

    def __init__(self, model: Model, solver: Solver, root: Path | None = None) -> None:
        self._model = model
        self._solver = solver
        self.root = root or default_cache_dir()
        self.folder = self.root / "v2" / model.key / solver
        self._sampled: dict[str, str] = {}
        """Tensor → a hash of some of its blocks, as far as it has been needed."""

    def path(self, job: Job) -> Path:
        """Where a job's result is, or would be."""
        name = "model" if job.layer is None else f"layer-{job.layer:05d}"
        return self.folder / f"{name}.{job.kind}.safetensors"

    def present(self) -> set[Job]:
        """The jobs that have a file; whether it can be believed shows when it is loaded."""
        found = set()
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                place, _, rest = path.name.partition(".")
                kind, _, ending = rest.partition(".")
                if ending != "safetensors" or not kind:
                    continue
                if place == "model":
                    found.add(Job(None, kind))
                elif place.startswith("layer-") and place[6:].isascii() and place[6:].isdigit():
                    found.add(Job(int(place[6:]), kind))
        return found

    def load(self, job: Job) -> JobResult | None:
        """A job's result, or None when there is none that can be believed."""
        if not self._model.is_known(job):
            return None  # what it was computed from cannot be compared
        try:
            with self.path(job).open("rb") as file:
                data = file.read(min(os.fstat(file.fileno()).st_size, _SIZE_CAP))  # as much is reserved at once
        except OSError:
            return None
        return self.decode(job, data)

    def save(self, data: bytes, job: Job) -> None:
        """Keep an encoded result.

        Raises:
            OSError: the disk is full or may not be written.
        """
        make_private(self.folder, self.root)
        write_atomically(self.path(job), data)

    def tidy(self) -> None:
        """Remove what killed programs have left of this model's results, and close its folders to others."""
        with contextlib.suppress(OSError):
            for folder in self.folder.parent.iterdir():
                sweep(folder)
        close_to_others(self.folder, self.root)

    def cannot_keep(self, error: OSError, option: str = "--cache-dir") -> str:
        """A sentence on results that could not be kept; `option` is what names another folder."""
        if self.root == NOWHERE:
            return (
                f"Results cannot be kept: this user has no home folder, and HOME is not set. {option} names a folder."
            )
        return f"Results cannot be kept in {self.folder}: {error.strerror or error}. {option} names another folder."

    def forget(self, job: Job) -> None:
        """Remove a job's result, as far as the disk lets us."""
        with contextlib.suppress(OSError):
            self.path(job).unlink(missing_ok=True)

    def _provenance(self, job: Job) -> dict[str, Any]:
        """What must be equal for a result to be this job's: the tensors it was computed from, and how."""
        checkpoint = self._model.checkpoint
        tensors = []
        for t in self._model.job_tensors(job):
            stat = checkpoint.source.files()[t.ref.file]
            # A snapshot keeps its commit when one of its files is replaced; of others the key has the times.
            version = stat.blob or ([stat.mtime_ns, stat.ctime_ns] if self._model.revision else "")
            tensors.append(
                [
                    *(t.matrix, t.ref.name, t.ref.dtype, list(t.ref.shape), t.ref.start, t.side, t.count),
                    *(t.ref.file, stat.size, version),
                ]
            )
        body = {"format": FORMAT, "contents": checkpoint.contents, "job": str(job), "solver": self._solver}
        return {**body, "tensors": tensors}

    def _samples(self, job: Job) -> dict[str, str]:
        """Matrix → a hash of some blocks of its tensor; empty where that is not on this machine, or no longer.

        Raises:
            ReadError: a file is another one than when the model was opened.
        """
        source = self._model.checkpoint.source
        found = {}
        for t in self._model.job_tensors(job):
            known = self._sampled.get(t.ref.name)
            if known is None or source.has_changed(t.ref.file):
                known = self._sampled[t.ref.name] = source.sample(t.ref.file, t.ref.start, t.ref.end)
            found[t.matrix] = known
        return found

    def _are_of_here(self, job: Job, samples: dict[str, str]) -> bool:
        """Whether a result's samples are those of the files that are here.

        Where the Hub names a file's content, it need not be here to be known; nor need one of a folder that was here
        with the times of the key when the model was opened.
        """
        files = self._model.checkpoint.source.files()
        named = {t.matrix for t in self._model.job_tensors(job) if files[t.ref.file].blob}
        ours = self._samples(job)
        return samples.keys() == ours.keys() and all(
            samples[matrix] == sample
            or (matrix in named and not (samples[matrix] and sample))
            or (not sample and not self._model.revision)
            for matrix, sample in ours.items()
        )

    def encode(self, result: JobResult) -> bytes:
        """A result as the bytes of a safetensors file: float64 spectra, and its provenance as metadata.

        Equal results are equal bytes, whoever computed them.

        Raises:
            ReadError: what it was computed from has been replaced meanwhile.
        """
        spectra = {name: np.ascontiguousarray(matrix.sigma) for name, matrix in result.matrices.items()}
        body = {
            **self._provenance(result.job),
            "samples": self._samples(result.job),
            "model": self._model.name,
            "revision": self._model.revision,
            "version": version("svdtui"),
            "solvers": {name: matrix.solvers for name, matrix in result.matrices.items()},
            "nonfinite": {name: matrix.nonfinite for name, matrix in result.matrices.items()},
        }
        text = json.dumps(body, sort_keys=True)
        checksum = _checksum(text, {name: array.tobytes() for name, array in spectra.items()})
        return _in_order(save(spectra, {"svdtui": text, "checksum": checksum}))

    def decode(self, job: Job, data: bytes) -> JobResult | None:
        """The inverse of `encode`, or None for anything that is damaged or does not belong to this job."""
        try:
            tensors = dict(deserialize(data))
            (length,) = _HEAD.unpack_from(data)
            metadata = json.loads(data[_HEAD.size : _HEAD.size + length])["__metadata__"]
            text = metadata["svdtui"]
            if metadata["checksum"] != _checksum(text, {name: t["data"] for name, t in tensors.items()}):
                return None
            body = json.loads(text)
            expected = self._provenance(job)
            if {field: body.get(field) for field in expected} != expected:
                return None
            if not self._are_of_here(job, body["samples"]):
                return None
            matrices = {}
            for name, shape in expected_shapes(self._model, job).items():
                if tensors[name]["dtype"] != "F64" or tuple(tensors[name]["shape"]) != shape:
                    return None
                sigma = np.frombuffer(tensors[name]["data"], dtype="<f8").reshape(shape)
                matrices[name] = MatrixResult(sigma, tuple(body["solvers"][name]), tuple(body["nonfinite"][name]))
        except (SafetensorError, ReadError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return JobResult(job, matrices)


def _in_order(data: bytes) -> bytes:
    """A safetensors file with a sorted header: the library writes metadata in a random order."""
    (length,) = _HEAD.unpack_from(data)
    header = json.dumps(json.loads(data[_HEAD.size : _HEAD.size + length]), sort_keys=True).encode()
    header += b" " * (-len(header) % _HEAD.size)  # the data begin at a multiple of 8
    return _HEAD.pack(len(header)) + header + data[_HEAD.size + length :]


def _checksum(text: str, arrays: dict[str, bytes]) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(arrays):
        digest.update(name.encode() + b"\0" + arrays[name])
    return digest.hexdigest()
