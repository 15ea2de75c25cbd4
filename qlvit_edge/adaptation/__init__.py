"""A trained network fitted to another microscope, from its cells with or without labels."""
