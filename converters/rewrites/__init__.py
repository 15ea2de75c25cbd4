"""Functions from graph to graph: what a network means stays, how it is written changes."""
