"""A document without its weights: what `inspect` prints or writes as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass

import numpy as np

from qlvit_edge.modelfile.arena import arena_bytes
from qlvit_edge.modelfile.audit import AuditResult, audit_integer_only
from qlvit_edge.modelfile.document import Document, Operator, Subgraph, Tensor
from qlvit_edge.modelfile.guard import Guard
from qlvit_edge.modelfile.macs import is_counted
from qlvit_edge.modelfile.metadata import ModelMetadata

_CHECKED = {"format_version", "features", "input_size", "colour", "golden"}
_GUARD_TABLES = {"image", "cell", "clusters", "prototypes", "powers"}

METADATA_CLAIMS = tuple(name for name in ModelMetadata.model_fields if name not in _CHECKED)
"""What a file says of itself and nothing in it bears out: only whoever made it can know."""

_MOST_WARNINGS = 20


@dataclass(frozen=True)
class TensorSummary:
    """One tensor.

    Attributes:
        name: as the file has it.
        shape: of its values.
        type: of its values, as TFLite names it.
        scales: one, or one per channel; none for a float tensor.
        zero_points: likewise.
        axis: of the channels; None where there is one scale or none.
        constant: whether the file holds its values.
        bytes: of its values.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None
    constant: bool
    bytes: int

    @classmethod
    def of(cls, tensor: Tensor) -> TensorSummary:
        """Leave out the values."""
        return cls(
            name=tensor.name,
            shape=tensor.shape,
            type=tensor.dtype,
            scales=tensor.scales,
            zero_points=tensor.zero_points,
            axis=tensor.axis,
            constant=tensor.is_constant,
            bytes=tensor.nbytes,
        )


@dataclass(frozen=True)
class OperatorSummary:
    """One operator.

    Attributes:
        name: of its kind; of a custom one with its code.
        version: of its kind.
        inputs: numbers of tensors; -1 for one that is left out.
        outputs: numbers of tensors.
        macs: of one inference.
    """

    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    macs: int


@dataclass(frozen=True)
class GraphSummary:
    """One graph of a file.

    Attributes:
        name: as the file has it.
        inputs: numbers of tensors.
        outputs: numbers of tensors.
        operators: in file order, which is that of execution.
        tensors: in file order.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[OperatorSummary, ...]
    tensors: tuple[TensorSummary, ...]

    @classmethod
    def of(cls, graph: Subgraph) -> GraphSummary:
        """Leave out the weights."""
        return cls(
            name=graph.name,
            inputs=tuple(graph.inputs),
            outputs=tuple(graph.outputs),
            operators=tuple(
                OperatorSummary(
                    name=display_name(operator),
                    version=operator.version,
                    inputs=tuple(operator.inputs),
                    outputs=tuple(operator.outputs),
                    macs=operator.macs,
                )
                for operator in graph.operators
            ),
            tensors=tuple(TensorSummary.of(tensor) for tensor in graph.tensors),
        )

    def as_dict(self) -> dict[str, object]:
        """Return the graph for JSON."""
        return {
            **vars(self),
            "operators": [vars(operator) for operator in self.operators],
            "tensors": [vars(tensor) for tensor in self.tensors],
        }


@dataclass(frozen=True)
class KindSummary:
    """All operators of one kind and version.

    Attributes:
        name: of the kind.
        version: of the kind.
        count: how many.
        macs: of one inference.
        is_counted: whether `macs` holds what they multiply.
    """

    name: str
    version: int
    count: int
    macs: int
    is_counted: bool


@dataclass(frozen=True)
class ModelSummary:
    """Everything a document holds except the weights.

    Attributes:
        bytes: size of the file.
        constant_bytes: of the tensors inside.
        arena_bytes: planned for the activations of the first graph, see
            `qlvit_edge.modelfile.arena`.
        schema_version: of the format.
        description: who wrote it.
        inputs: of the first graph.
        outputs: of the first graph.
        macs: of one inference of the first graph.
        macs_not_counted: operators whose products are left out of `macs`, how many by kind.
        operator_counts: by kind, most frequent first.
        graphs: in file order.
        audit: what keeps it from being an integer model.
        metadata: what it says about itself; None without ours.
        metadata_names: of all metadata inside.
        warnings: what is odd in the file, one sentence each.
    """

    bytes: int
    constant_bytes: int
    arena_bytes: int
    schema_version: int
    description: str
    inputs: tuple[TensorSummary, ...]
    outputs: tuple[TensorSummary, ...]
    macs: int
    macs_not_counted: dict[str, int]
    operator_counts: dict[str, int]
    graphs: tuple[GraphSummary, ...]
    audit: AuditResult
    metadata: ModelMetadata | None
    metadata_names: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def kinds(self) -> list[KindSummary]:
        """The operators of all graphs by kind and version, those of most MACs first."""
        rows: dict[tuple[str, int], list[int]] = {}
        for graph in self.graphs:
            for operator in graph.operators:
                row = rows.setdefault((operator.name, operator.version), [0, 0])
                row[0] += 1
                row[1] += operator.macs
        return sorted(
            (
                KindSummary(name, version, count, macs, name not in self.macs_not_counted)
                for (name, version), (count, macs) in rows.items()
            ),
            key=lambda kind: (-kind.macs, -kind.count),
        )

    def as_dict(self) -> dict[str, object]:
        """Return the summary for JSON."""
        audit = self.audit
        return {
            **vars(self),
            "inputs": [vars(tensor) for tensor in self.inputs],
            "outputs": [vars(tensor) for tensor in self.outputs],
            "graphs": [graph.as_dict() for graph in self.graphs],
            "audit": {
                "passed": audit.passed,
                "integer_only": audit.integer_only,
                "verdict": audit.verdict,
                **asdict(audit),
            },
            "metadata": None if self.metadata is None else metadata_values(self.metadata),
            "claimed": [] if self.metadata is None else list(METADATA_CLAIMS),
        }


def summarise(
    document: Document, metadata: ModelMetadata | None, *, subject: object = "model"
) -> ModelSummary:
    """Return everything `document` holds except the weights.

    Raises:
        ModelFileError: it has too many activations to plan memory for; `subject` is what the
            error calls the file.
    """
    counts = Counter(display_name(operator) for operator in document.operators)
    return ModelSummary(
        bytes=document.size,
        constant_bytes=sum(t.nbytes for t in document.tensors if t.is_constant),
        arena_bytes=arena_bytes(document.subgraphs[0], subject=subject),
        schema_version=document.version,
        description=document.description,
        inputs=tuple(TensorSummary.of(tensor) for tensor in document.inputs),
        outputs=tuple(TensorSummary.of(tensor) for tensor in document.outputs),
        macs=document.macs,
        macs_not_counted=dict(
            Counter(display_name(op) for op in document.operators if not is_counted(op.name))
        ),
        operator_counts=dict(counts.most_common()),
        graphs=tuple(GraphSummary.of(graph) for graph in document.subgraphs),
        audit=audit_integer_only(document),
        metadata=metadata,
        metadata_names=tuple(document.metadata_names),
        warnings=_warnings(document),
    )


def _warnings(document: Document) -> tuple[str, ...]:
    found = (
        *document.warnings,
        *(f"{finding}: some runtimes refuse that" for finding in document.misfits),
    )
    if len(found) > _MOST_WARNINGS:
        return (*found[:_MOST_WARNINGS], f"and {len(found) - _MOST_WARNINGS:,} more of this sort")
    return found


def display_name(operator: Operator) -> str:
    """Return the operator's name; a custom one with its code."""
    return f"CUSTOM:{operator.custom_code}" if operator.name == "CUSTOM" else operator.name


def metadata_values(metadata: ModelMetadata) -> dict[str, object]:
    """Return the metadata for JSON: golden pairs counted, a guard and mistakes without tables."""
    values: dict[str, object] = metadata.model_dump(
        mode="json", exclude={"golden", "guard", "confusion"}
    )
    return values | {
        "features": metadata.features,
        "golden_pairs": len(metadata.golden),
        "guard": guard_values(metadata.guard),
        "confusion": confusion_values(metadata),
    }


def confusion_values(metadata: ModelMetadata) -> dict[str, object] | None:
    """Return a model's mistakes for JSON, all sources together; None of a file without.

    The matrix has one row per class and one column per answer, the last for "not accepted".
    """
    found = metadata.confusion
    if found is None:
        return None
    table, sources = found.by_kind(len(metadata.labels))
    return {
        "data": found.data,
        "grouped": found.grouped,
        "accept_at": found.accept_at,
        "cells": found.cells,
        "sources": found.sources,
        "matrix": np.tensordot(sources, table, 1).astype(int).tolist(),
    }


def guard_values(guard: Guard | None) -> dict[str, object] | None:
    """Return a guard for JSON, its tables as numbers of rows; None of a file without."""
    if guard is None:
        return None
    values: dict[str, object] = guard.model_dump(mode="json", exclude=_GUARD_TABLES)
    return values | {
        "clusters": len(guard.clusters),
        "prototypes": guard.prototypes.shape[0],
    }
