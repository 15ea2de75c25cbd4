"""Results for other systems: HL7 v2 messages and their delivery, OME-TIFF, a page for paper.

What a message says is in `oru`, how it is written in `hl7`; `mllp` carries it, `sending` takes it
from the outbox of a results file (`qlvit_edge.review.outbox`) to a listener.
"""
