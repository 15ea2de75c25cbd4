"""Networks that learn the same on the same budget: `peers.py`, `ablation.py`, `folds.py`."""
