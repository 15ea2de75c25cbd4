"""Is a model file what it claims to be: integers only, builtin operators only?

An "int8" file with float tensors inside runs, slowly and differently, so nobody notices;
this looks at every tensor and operator of every graph and lists what does not belong.
"""

from __future__ import annotations

from dataclasses import dataclass

from qlvit_edge.modelfile.document import Document
from qlvit_edge.modelfile.schema import FLOAT_TYPES

# Types that an integer model may hold; strings, resources and variants are refused.
INTEGER_TYPES = frozenset(
    {"INT2", "INT4", "UINT4", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32"}
    | {"INT64", "UINT64", "BOOL"}
)


@dataclass(frozen=True)
class AuditResult:
    """What keeps a file from being an integer model; all empty when nothing does.

    Attributes:
        float_tensors: names of tensors of a float or complex type.
        other_tensors: names of tensors that hold no numbers (strings, resources, variants).
        custom_operators: codes of custom operators.
        unknown_operators: `UNKNOWN_<number>` of operators outside the schema.
    """

    float_tensors: tuple[str, ...]
    other_tensors: tuple[str, ...]
    custom_operators: tuple[str, ...]
    unknown_operators: tuple[str, ...]

    @property
    def integer_only(self) -> bool:
        """Whether every tensor is of an integer type."""
        return not self.float_tensors and not self.other_tensors

    @property
    def non_builtin(self) -> tuple[str, ...]:
        """Custom and unknown operators together."""
        return self.custom_operators + self.unknown_operators

    @property
    def passed(self) -> bool:
        """Whether the file holds integers and builtin operators and nothing else."""
        return self.integer_only and not self.non_builtin

    @property
    def verdict(self) -> str:
        """The result in one sentence, naming the first offenders."""
        if self.passed:
            return "integers only, builtin operators only"
        findings = []
        for names, what in (
            (self.float_tensors, "float tensors"),
            (self.other_tensors, "tensors that are not numbers"),
            (self.custom_operators, "custom operators"),
            (self.unknown_operators, "unknown operators"),
        ):
            if names:
                more = ", …" if len(names) > 3 else ""
                findings.append(f"{len(names)} {what} ({', '.join(names[:3])}{more})")
        return "not an integer model: " + "; ".join(findings)


def audit_integer_only(document: Document) -> AuditResult:
    """Look at every tensor and operator of `document`, in all its graphs."""
    tensors = document.tensors
    operators = document.operators
    return AuditResult(
        float_tensors=tuple(t.name for t in tensors if t.dtype in FLOAT_TYPES),
        other_tensors=tuple(t.name for t in tensors if t.dtype not in FLOAT_TYPES | INTEGER_TYPES),
        custom_operators=tuple(o.custom_code for o in operators if o.name == "CUSTOM"),
        unknown_operators=tuple(o.name for o in operators if o.name.startswith("UNKNOWN_")),
    )
