"""Quantisation-aware fine-tuning: a float run is trained on as the integers that a device computes.

`student` is the network that is trained: forward it is the integer graph, backward the float twin
of it. `twin` and `meanings` are that twin, `ranges` what its tensors may hold, `loop` the training,
`session` the run folder.
"""
