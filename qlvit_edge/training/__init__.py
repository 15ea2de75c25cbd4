"""Training: the loop, its schedule, checkpoints and the run folder they live in."""
