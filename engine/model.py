"""A checkpoint seen as layers, heads and matrices, and what must be read for each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from .address import Address
from .certainty import Certainty
from .checkpoint import Checkpoint, TensorRef
from .errors import AddressError
from .layout import HeadCounts, HeadMatrix, head_counts
from .matrices import DTYPES, HEADS, Job, MatrixInfo, SlicedTensor, is_empty, job_name, shown_dtype, tensor_problem
from .shown import MOST_LAYERS, Shown, nothing_left
from .text import plural, printable, runs, spans

__all__ = ["DTYPES", "HEADS", "MOST_LAYERS", "Job", "MatrixInfo", "Model", "SlicedTensor", "job_name", "tensor_problem"]


class Model(Shown):
    """A checkpoint's decoder. Everything is worked out from headers and config.

    Of a remote model, the headers are read when `prepare` is told that they are needed; until then the shapes of some
    tensors are not known. A tensor that contradicts the config, or is not where the index says, is a problem of its own
    matrices (see `certainty`).

    Raises:
        ModelNotFoundError: there is no matrix of a known architecture.
        LayoutError: the shapes of all layers contradict the config.
        CheckpointError: no matrix of a layer is there, or all are empty.
        ConfigError: the config's head counts contradict each other.
    """

    def __init__(self, checkpoint: Checkpoint, stack: str | None = None) -> None:
        super().__init__(checkpoint, stack)
        self._by_layer: tuple[int, list[dict[str, SlicedTensor]]] | None = None
        self.counts: HeadCounts | None = None
        self.heads_problem: str | None = None
        if checkpoint.config is None:
            self.heads_problem = "Heads are unknown: there is no config.json beside the weights to say how many."
        elif self._config is None:
            self.heads_problem = f"Heads are unknown: config.json does not say how many {printable(self.stack)} has."
        else:
            self.counts = head_counts(self._config)
            if self.counts is None:
                self.heads_problem = "Heads are unknown: config.json gives no num_attention_heads or hidden_size."
        self._certainty = Certainty(self.counts, self.layers, self._head_refs) if self.counts else None
        if not checkpoint.unread_shards:
            self._refuse_if_nothing_is_left()

    def _refuse_if_nothing_is_left(self) -> None:
        """A tensor that is wrong is a problem of its own matrices, unless that is true of all of them."""
        slices = (tensor for layer in self.layers for tensor in self.head_tensors(layer))
        if self._certainty and all(tensor.problem for tensor in slices):
            contradiction = self._certainty.first_contradiction()
            if contradiction is not None and self.is_main:
                raise contradiction
            if contradiction is not None:  # the config speaks of the others
                self.counts = self._certainty = None
                self.heads_problem = f"Heads are unknown: {contradiction.message}"
        wholes = (self._whole_ref(layer, name) for layer in self.layers for name in self._whole_names(layer))
        if not all(ref is None or ref.is_absent or is_empty(ref) for ref in wholes):
            return
        raise nothing_left(self.checkpoint)

    def prepare(self, jobs: Iterable[Job]) -> Iterator[tuple[str, bytes]]:
        """Read the headers that these jobs need and that have not been read; yields each file with its header.

        Raises:
            EngineError: a header cannot be read, or is damaged.
        """
        jobs = list(jobs)
        names = [tensor.ref.name for job in jobs for tensor in self._job_parts(job)]
        for file in self.checkpoint.unread(names):
            yield file, self.checkpoint.read_header(file)
        for layer in {job.layer for job in jobs if job.kind == HEADS and job.layer is not None}:
            while file := self._needed_to_be_certain(layer):
                yield file, self.checkpoint.read_header(file)

    def _needed_to_be_certain(self, layer: int) -> str:
        """A shard whose header may say whether the slices of a layer are heads, or empty."""
        unread = self.checkpoint.unread_shards
        if not unread or not self._certainty or self._certainty.is_settled(layer, len(unread)):
            return ""
        refs = (ref for other in self.layers for _, ref in self._head_refs(other))
        return next((ref.file for ref in refs if not ref.is_known), "")

    def recall(self, job: Job) -> None:
        """Take over the headers that another process has read for this job meanwhile."""
        self.checkpoint.recall(tensor.ref.name for tensor in self._job_parts(job))

    def is_known(self, job: Job) -> bool:
        """Whether the headers that a job needs have been read."""
        return all(tensor.ref.is_known for tensor in self._job_parts(job))

    @property
    def is_remote(self) -> bool:
        """Whether some weights would come over a network: not those that cannot be had because svdtui is offline."""
        source = self.checkpoint.source
        return not source.is_offline and not all(
            source.is_here(file) for file in {ref.file for ref in self.checkpoint.tensors.values()}
        )

    def remote_bytes(self, job: Job) -> int | None:
        """The bytes that computing a job reads over a network; None as long as a header that says so is unread."""
        source = self.checkpoint.source
        if source.is_offline:
            return 0
        tensors = [t for t in self._job_parts(job) if not source.is_here(t.ref.file)]
        if not all(tensor.ref.is_known for tensor in tensors):
            return None
        return sum(tensor.ref.nbytes for tensor in tensors if tensor.problem is None)

    @property
    def heads(self) -> int:
        """Query heads of a layer; 0 when unknown."""
        return self.counts.heads if self.counts else 0

    @property
    def kv_heads(self) -> int:
        """Key/value heads of a layer; 0 when unknown."""
        return self.counts.kv_heads if self.counts else 0

    @property
    def head_dim(self) -> int:
        """Rows of a head's Q slice; 0 when unknown."""
        return self.counts.head_dim if self.counts else 0

    @cached_property
    def _layer_set(self) -> frozenset[int]:
        return frozenset(self.layers)

    @property
    def head_matrices(self) -> tuple[str, ...]:
        """The matrices of a head, in the order in which they are shown; none when heads are unknown."""
        return tuple(part.matrix for part in self._placement.architecture.heads) if self.counts else ()

    def slices(self, matrix: str) -> int:
        """How many slices a head matrix has in a layer: one a query head, or one a KV head for K and V.

        Raises:
            AddressError: it is no matrix of a head of this model.
        """
        part = self._part(matrix)
        assert self.counts
        return self.counts.count(part)

    def is_shared(self, matrix: str) -> bool:
        """Whether a head matrix divides into KV heads, which query heads share, be it in the files or not.

        Raises:
            AddressError: it is no matrix of a head of this model.
        """
        return self._part(matrix).shared

    def _part(self, matrix: str) -> HeadMatrix:
        for part in self._placement.architecture.heads if self.counts else ():
            if part.matrix == matrix:
                return part
        raise AddressError(f"{self.name} has no head matrix {matrix!r}.")

    def has_heads(self, layer: int) -> bool:
        """Whether the layer's attention can be divided into heads."""
        return layer in self._with_heads

    @cached_property
    def _with_heads(self) -> frozenset[int]:
        """The layers that have a matrix of their heads: names tell, which are all known from the beginning."""
        if not self.counts:
            return frozenset()
        parts, known = self._placement.architecture.heads, self.checkpoint.tensors
        return frozenset(
            layer for layer in self.layers if any(self._placement.tensor(layer, part.tensor) in known for part in parts)
        )

    def head_tensors(self, layer: int) -> tuple[SlicedTensor, ...]:
        """The attention tensors of a layer that are in the checkpoint, in the order Q K V O."""
        return tuple(tensor for _, tensor in self._head_parts(layer))

    def heads_of_layers(self) -> Sequence[Mapping[str, SlicedTensor]]:
        """For each layer, its head matrices by name; worked out again only when more headers are known."""
        unread = len(self.checkpoint.unread_shards)
        if self._by_layer is None or self._by_layer[0] != unread:
            found = [{each.matrix: each for each in self.head_tensors(layer)} for layer in self.layers]
            self._by_layer = unread, found
        return self._by_layer[1]

    def _head_parts(self, layer: int) -> list[tuple[HeadMatrix, SlicedTensor]]:
        return self._certainty.sliced(layer, len(self.checkpoint.unread_shards)) if self._certainty else []

    def _head_refs(self, layer: int) -> list[tuple[HeadMatrix, TensorRef]]:
        parts = self._placement.architecture.heads
        refs = (self.checkpoint.tensors.get(self._placement.tensor(layer, part.tensor)) for part in parts)
        return [(part, ref) for part, ref in zip(parts, refs, strict=True) if ref is not None]

    def job_tensors(self, job: Job) -> tuple[SlicedTensor, ...]:
        """What a job reads, without the tensors that have no spectrum (see `tensor_problem`).

        Raises:
            AddressError: this model has no such job.
        """
        return tuple(tensor for tensor in self._job_parts(job) if tensor.problem is None)

    def _job_parts(self, job: Job) -> tuple[SlicedTensor, ...]:
        if job.kind == HEADS and job.layer is not None:
            return self.head_tensors(job.layer)
        ref = self._whole_ref(job.layer, job.kind)
        if ref is None:
            raise AddressError(f"There is no matrix {job} in {self.name}.")
        return (SlicedTensor(job.kind, ref, "rows", 1, self._problem_of(ref)),)

    def _whole_ref(self, layer: int | None, name: str) -> TensorRef | None:
        if layer is None:
            tensor = self._outer.get(name)
            return self.checkpoint.tensors[tensor] if tensor else None
        suffix = self._placement.architecture.whole.get(name)
        return self.checkpoint.tensors.get(self._placement.tensor(layer, suffix)) if suffix else None

    def _problem_of(self, ref: TensorRef) -> str | None:
        if ref.is_absent and self._is_tied and ref.name == self._outer.get("lm_head"):
            return f"{self.name} has no lm_head of its own: it is tied to embed_tokens."
        return tensor_problem(ref)

    @property
    def _is_tied(self) -> bool:
        return self.said("tie_word_embeddings") is True

    def _whole_names(self, layer: int | None) -> tuple[str, ...]:
        names = self._outer if layer is None else self._placement.architecture.whole
        return tuple(name for name in names if self._whole_ref(layer, name))

    def matrices(self, parent: Address) -> tuple[MatrixInfo, ...]:
        """The matrices directly below a place: a head's Q K V O, a KV head's K V, a layer's whole ones, the model's."""
        if parent.matrix is not None or parent.head is not None:
            return tuple(self._head_infos(parent)) if parent.matrix is None else ()
        return tuple(self.info(Address(parent.layer, matrix=name)) for name in self._whole_names(parent.layer))

    def _head_infos(self, head: Address) -> Iterator[MatrixInfo]:
        assert head.layer is not None
        assert head.head is not None
        assert self.counts
        job = Job(head.layer, HEADS)
        for part, tensor in self._head_parts(head.layer):
            if head.kv_head is not None and not part.shared:
                continue
            kv_head = self.counts.kv_head(head.head) if part.shared else None
            yield MatrixInfo(
                address=Address(head.layer, head.head, part.matrix, kv_head=head.kv_head),
                label=part.matrix.upper(),
                tensor=tensor.ref.name,
                rows=tensor.rows,
                cols=tensor.cols,
                dtype=shown_dtype(tensor.ref),
                kv_head=kv_head,
                job=job,
                index=head.head if kv_head is None else kv_head,
                problem=tensor.problem,
            )

    def info(self, address: Address) -> MatrixInfo:
        """What is known of one matrix before it is computed.

        Raises:
            AddressError: the address is not that of a matrix of this model.
        """
        self.check(address)
        if address.matrix is None:
            raise AddressError(f"{address} is not a matrix.", "Add one, such as .q")
        if address.head is not None:
            return next(info for info in self._head_infos(address.parent) if info.address == address)
        ref = self._whole_ref(address.layer, address.matrix)
        assert ref
        rows, cols = ref.shape if len(ref.shape) == 2 else (0, 0)
        return MatrixInfo(
            address=address,
            label=address.matrix,
            tensor=ref.name,
            rows=rows,
            cols=cols,
            dtype=shown_dtype(ref),
            kv_head=None,
            job=Job(address.layer, address.matrix),
            index=0,
            problem=self._problem_of(ref),
        )

    def attention(self, layer: int) -> Iterator[tuple[str, MatrixInfo]]:
        """The whole matrices that a layer's heads are slices of: `q` with that of `q_proj`, and so on."""
        names = {tensor: name for name, tensor in self._placement.architecture.whole.items()}
        for part in self._placement.architecture.heads:
            name = names[part.tensor]
            if self._whole_ref(layer, name):
                yield part.matrix, self.info(Address(layer, matrix=name))

    def jobs(self, address: Address) -> tuple[Job, ...]:
        """The work that a view of this place needs; for the model and for layers, their attention heads.

        Without heads, a layer's and the model's are their whole matrices.
        """
        if address.matrix is not None and address.head is None:
            return (Job(address.layer, address.matrix),)
        if address.layer is None:
            return self._all_jobs
        if self.has_heads(address.layer) and not address.is_whole:
            return (Job(address.layer, HEADS),)
        if self.counts and not address.is_whole:
            return ()
        return tuple(Job(address.layer, name) for name in self._whole_names(address.layer))

    @cached_property
    def _all_jobs(self) -> tuple[Job, ...]:
        """The work that a view of the model needs."""
        own = () if self.counts else tuple(Job(None, name) for name in self._whole_names(None))
        return tuple(job for layer in self.layers for job in self.jobs(Address(layer))) + own

    def has_job(self, job: Job) -> bool:
        """Whether a job is one of this model's."""
        if job.layer is not None and job.layer not in self._layer_set:
            return False
        if job.kind == HEADS:
            return job.layer is not None and bool(self.counts)
        return self._whole_ref(job.layer, job.kind) is not None

    def neighbours(self, job: Job) -> tuple[Job, ...]:
        """The heads of the next and the previous layer, which a user is likely to want soon."""
        if job.layer is None or job.kind != HEADS:
            return ()
        near = (job.layer + 1, job.layer - 1)
        return tuple(Job(layer, HEADS) for layer in near if layer in self._layer_set and self.has_heads(layer))

    def check(self, address: Address) -> None:
        """Refuse a place that this model does not have.

        Raises:
            AddressError: names what does exist.
        """
        if address.layer is not None and address.layer not in self._layer_set:
            raise AddressError(f"There is no layer {address.layer}: {self.name} has {self.layer_span}.")
        if address.head is not None:
            if not self.heads:
                raise AddressError(f"There is no head {address.head}. {self.heads_problem}")
            if not 0 <= address.head < self.heads:
                raise AddressError(
                    f"There is no head {address.head}: {self.name} has heads 0 to {self.heads - 1} in a layer."
                )
        if address.matrix is not None:
            self._check_matrix(address)
        if address.is_whole and not self.matrices(address):
            raise AddressError(f"Layer {address.layer} has no whole matrices in these files.")

    @property
    def layer_span(self) -> str:
        """The layers that are there, for a sentence: `layers 0 to 31`, `layers 0-3, 7`, `layer 5 only`."""
        first, last = self.layers[0], self.layers[-1]
        if first == last:
            return f"layer {first} only"
        is_whole = last - first + 1 == len(self.layers)
        return f"layers {first} to {last}" if is_whole else f"layers {spans(runs(self.layers))}"

    def has_whole(self, layer: int | None, name: str) -> bool:
        """Whether a layer, or the model outside its layers, has a whole matrix of this name."""
        return self._whole_ref(layer, name) is not None

    def _check_matrix(self, address: Address) -> None:
        if address.head is not None:
            assert address.layer is not None
            shared = [part for part, _ in self._head_parts(address.layer) if address.kv_head is None or part.shared]
            names = tuple(part.matrix for part in shared)
            where = f"{'Head' if address.kv_head is None else 'KV head'} {address.parent}"
        else:
            names = self._whole_names(address.layer)
            where = self.name if address.layer is None else f"Layer {address.layer}"
        if address.matrix not in names:
            if self._is_tied and address == Address(matrix="lm_head") and "embed_tokens" in names:
                raise AddressError(f"{self.name} has no lm_head of its own: it is tied to embed_tokens.", "Use that.")
            hint = ""
            if address.matrix in self.head_matrices and address.head is None:
                hint = f"{address.matrix} is a matrix of a head: name its layer and head too."
            raise AddressError(
                f"There is no matrix {address.matrix!r} there: {where} has {', '.join(names) or 'none'}.", hint
            )

    def has_problem(self, job: Job) -> bool:
        """Whether some tensor of a job can never be computed."""
        return any(tensor.problem for tensor in self._job_parts(job))

    @cached_property
    def incomplete(self) -> str | None:
        """What these files hold less than a whole model, or why that cannot be told, in sentences."""
        return " ".join(filter(None, (self._miscounted, self.fewer_layers, self._lacking))) or None

    @property
    def _miscounted(self) -> str:
        """A sentence when the config gives no number of layers where it should."""
        problem = self.layer_count_problem
        return problem and f"{problem} Whether layers are missing from these files is not known."

    @cached_property
    def fewer_layers(self) -> str:
        """A sentence when there are fewer layers than the config promises, as in a single shard of a model."""
        promised, there = self.layer_count, len(self.depth_layers)
        if promised is not None and there < promised:
            are = "is" if there == 1 else "are"
            return f"config.json says {plural(promised, 'layer')}; {there:,} {are} in these files."
        return ""

    @property
    def _lacking(self) -> str:
        """A sentence when layers lack some matrix of their heads."""
        lacking = {layer: self._lacks(layer) for layer in self.layers if self.has_heads(layer)}
        lacking = {layer: missing for layer, missing in lacking.items() if missing}
        if not lacking:
            return ""
        first, missing = next(iter(lacking.items()))
        others = f", and so with {plural(len(lacking) - 1, 'other layer')}" if len(lacking) > 1 else ""
        return f"Layer {first} has no {' and no '.join(missing)} in these files{others}: there are no figures of it."

    def _lacks(self, layer: int) -> list[str]:
        """The attention tensors of a layer that are not there."""
        parts = self._placement.architecture.heads
        names = (self._placement.tensor(layer, part.tensor) for part in parts)
        return [name for name in names if name not in self.checkpoint.tensors]

    def children(self, parent: Address) -> Iterator[Address]:
        """The places directly below `parent`: layers, then heads or matrices."""
        if parent == Address():
            yield from map(Address, self.layers)
        elif parent.head is None and parent.matrix is None and parent.layer is not None:
            yield from (
                Address(parent.layer, head) for head in range(self.heads if self.has_heads(parent.layer) else 0)
            )
        yield from (info.address for info in self.matrices(parent))
