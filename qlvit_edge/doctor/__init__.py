"""What must be right on a device before it counts cells: looked at, judged, with the remedy.

`examination` makes one check after the other, each in a process of its own that may hang or crash;
the other modules hold the checks, by subject. A check is a function from a `Place` to findings.
"""
