"""The differential: shares of the cells' classes, how far they can be trusted, and against what.

Counting, correction and comparison; finding and classifying the cells, and storing them, are
`qlvit_edge.microscope`'s.
"""
