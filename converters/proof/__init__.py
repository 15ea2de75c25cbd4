"""Proof that a written file is what it claims to be.

Four claims: every tensor is an integer and every operator builtin (:mod:`.audit`); on the default
kernels, which run on devices, every tensor and both outputs equal XNNPACK's arithmetic, byte for
byte, and on the reference kernels the reference arithmetic (:mod:`.equality`); the classes agree
with the float network's (:mod:`.accuracy`). That the first kernels compute the same on x86-64 and
arm64 is :mod:`qlvit_edge.converters.one_arithmetic`'s.
"""
