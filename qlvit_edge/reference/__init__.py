"""A reference slide, looked at every day: does this device still say what it said at first?

`reference_set` is the folder of fields with labelled cells, `making` makes one from a signed run,
`checking` runs a model on it, `history` keeps one line per check, `limits` learns what is usual and
judges today, and `chart` draws it.
"""
