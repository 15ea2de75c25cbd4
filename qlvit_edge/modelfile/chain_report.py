"""A chain as `inspect` prints it or writes it as JSON: counted in its files, or a claim."""

from __future__ import annotations

from dataclasses import asdict

from qlvit_edge.files import sha256
from qlvit_edge.modelfile.chain import Chain
from qlvit_edge.modelfile.chain_figures import ChainFigures
from qlvit_edge.modelfile.summary import METADATA_CLAIMS, metadata_values

CLAIMS = (*(f"model.{name}" for name in METADATA_CLAIMS), "segments.device", "segments.compiled")
"""Keys of what nothing in the files can bear out."""


def chain_values(chain: Chain, figures: ChainFigures, content: bytes = b"") -> dict[str, object]:
    """Return a chain without its weights for JSON.

    The keys are those of `chain.json`, the model's golden pairs counted and not listed. All
    figures are counted in the segments' files; `mapped_operators` of a segment are those that
    break no rule, `witness` is empty where it proves nothing, `contradictions` is where
    `chain.json` says otherwise, and `claimed` are the keys of what it says and nothing in the
    files bears out.

    Args:
        chain: the chain.
        figures: counted in it.
        content: the archive.
    """
    description = chain.description
    segments = zip(description.segments, figures.segments, strict=True)
    return {
        **description.model_dump(mode="json"),
        **asdict(figures),
        "bytes": len(content),
        "archive_sha256": sha256(content),
        "operators": figures.operators,
        "macs": figures.macs,
        "answer": figures.answer,
        "witness": list(description.witness) if figures.witness_holds else [],
        "model": metadata_values(description.model),
        "segments": [own.model_dump(mode="json") | asdict(counted) for own, counted in segments],
        "claimed": list(CLAIMS),
    }
