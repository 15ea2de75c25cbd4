"""The operations of the graph, one family a file.

Each operation stands in one place with its shape rule, its meaning in NumPy integers, its
multiply-accumulates and its TFLite encoding. The meaning is that of TFLite's reference
kernels (``BUILTIN_REF``), bit for bit; float32 operations have an encoding only.
"""
