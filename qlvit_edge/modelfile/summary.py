"""A document as plain values that can be printed or written as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from qlvit_edge.modelfile.arena import arena_bytes
from qlvit_edge.modelfile.audit import audit_integer_only
from qlvit_edge.modelfile.document import Document, Operator, Subgraph, Tensor
from qlvit_edge.modelfile.metadata import ModelMetadata


def summarise(document: Document, metadata: ModelMetadata | None) -> dict[str, Any]:
    """Return everything `document` holds except the weights, ready for `json.dumps`.

    Keys: `bytes`, `constant_bytes` (of the tensors inside), `arena_bytes` (planned for the
    activations of the first graph, see `qlvit_edge.modelfile.arena`), `schema_version`,
    `description`, `inputs`, `outputs`, `macs` (first graph), `operator_counts` (name →
    count, most frequent first), `graphs` (operators and tensors in file order), `audit`,
    `metadata` (None without ours; golden pairs are counted, not listed), `metadata_names`.
    """
    audit = audit_integer_only(document)
    counts = Counter(display_name(operator) for operator in document.operators)
    return {
        "bytes": document.size,
        "constant_bytes": sum(t.nbytes for t in document.tensors if t.is_constant),
        "arena_bytes": arena_bytes(document.subgraphs[0]),
        "schema_version": document.version,
        "description": document.description,
        "inputs": [describe_tensor(tensor) for tensor in document.inputs],
        "outputs": [describe_tensor(tensor) for tensor in document.outputs],
        "macs": document.macs,
        "operator_counts": dict(counts.most_common()),
        "graphs": [_graph(graph) for graph in document.subgraphs],
        "audit": {
            "passed": audit.passed,
            "integer_only": audit.integer_only,
            "verdict": audit.verdict,
            **asdict(audit),
        },
        "metadata": None if metadata is None else _metadata(metadata),
        "metadata_names": list(document.metadata_names),
    }


def display_name(operator: Operator) -> str:
    """Return the operator's name; a custom one with its code."""
    return f"CUSTOM:{operator.custom_code}" if operator.name == "CUSTOM" else operator.name


def describe_tensor(tensor: Tensor) -> dict[str, Any]:
    """Return one tensor as plain values."""
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "type": tensor.dtype,
        "scales": list(tensor.scales),
        "zero_points": list(tensor.zero_points),
        "axis": tensor.axis,
        "constant": tensor.is_constant,
        "bytes": tensor.nbytes,
    }


def _graph(graph: Subgraph) -> dict[str, Any]:
    return {
        "name": graph.name,
        "inputs": list(graph.inputs),
        "outputs": list(graph.outputs),
        "operators": [
            {
                "name": display_name(operator),
                "version": operator.version,
                "inputs": list(operator.inputs),
                "outputs": list(operator.outputs),
                "macs": operator.macs,
            }
            for operator in graph.operators
        ],
        "tensors": [describe_tensor(tensor) for tensor in graph.tensors],
    }


def _metadata(metadata: ModelMetadata) -> dict[str, Any]:
    values: dict[str, Any] = metadata.model_dump(mode="json", exclude={"golden"})
    return values | {"golden_pairs": len(metadata.golden)}
