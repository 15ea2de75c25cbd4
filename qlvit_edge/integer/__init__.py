"""The integer arithmetic, in NumPy alone: what training, converter and device all agree with.

`requantise` and `uniform` (eq. 14–18), `iexp` and `log2_softmax` (eq. 6), `layer_norm`, `spline`
(eq. 11–13), `tables`; `xnnpack` is the default kernels' arithmetic where it differs.
"""
