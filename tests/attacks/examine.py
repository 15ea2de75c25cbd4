"""Everything that is done with a model file before native code sees it, on one input."""

from __future__ import annotations

import json

from qlvit_edge.errors import ModelFileError
from qlvit_edge.modelfile.metadata import metadata_of
from qlvit_edge.modelfile.operators import require_allowed
from qlvit_edge.modelfile.reader import read_document
from qlvit_edge.modelfile.summary import summarise


def examine(content: bytes) -> bool:
    """Read, audit and describe a file; True if it is accepted.

    Whatever else than `ModelFileError` leaves a step is a bug.
    """
    try:
        document = read_document(content)
        metadata = metadata_of(document)
        json.dumps(summarise(document, metadata).as_dict())
        require_allowed(document, "model")
    except ModelFileError as error:
        line = str(error)
        if "\n" in line or len(line) > 2000:
            raise AssertionError(f"not one short line: {line[:200]!r}") from None
        return False
    return True
