"""How fast a model is on this machine, and where its time goes.

`benchmark` compares models side by side in one run, `profiler` gives the time of every
operator and `parts` names the network's part it belongs to; `machine` says what was measured on.
"""
