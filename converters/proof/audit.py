"""What is in a written file: integers and builtin operators, nothing else."""

from __future__ import annotations

from qlvit_edge.errors import ConversionError
from qlvit_edge.modelfile.audit import audit_integer_only
from qlvit_edge.modelfile.reader import read_document


def audit(model: bytes) -> tuple[int, int]:
    """Check that a file holds integers and builtin operators only.

    Returns:
        Number of tensors and of operators.

    Raises:
        ConversionError: something else is in it.
    """
    document = read_document(model)
    result = audit_integer_only(document)
    if not result.passed:
        raise ConversionError("converted model", result.verdict, "report this as a bug")
    return len(document.tensors), len(document.operators)
