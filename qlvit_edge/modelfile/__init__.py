"""The model file as a document: bounded reading, metadata, and the integer-only audit."""
