"""QLViT on the edge: cell classification as a fully-integer model on a microscope.

The whole public face; everything else is found through its own module::

    from qlvit_edge import Classifier
    Classifier("blood-nano").classify("cell.png")

For research use only, not for diagnosis.
"""

from __future__ import annotations

# Known to type checkers by its name; the module `typing` alone takes as long as the rest.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from qlvit_edge.errors import QLViTEdgeError
    from qlvit_edge.inference.classifier import Classification, Classifier

    __version__: str

__all__ = ["Classification", "Classifier", "QLViTEdgeError", "__version__"]


def __getattr__(name: str) -> Any:
    # Imported when first asked for: `qlvit-edge --help` must not load NumPy.
    if name in ("Classification", "Classifier"):
        from qlvit_edge.inference import classifier

        return getattr(classifier, name)
    if name == "QLViTEdgeError":
        from qlvit_edge.errors import QLViTEdgeError

        return QLViTEdgeError
    if name == "__version__":
        from qlvit_edge.version import installed_version

        return installed_version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
