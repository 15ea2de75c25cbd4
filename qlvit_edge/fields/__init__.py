"""Fields of view: where the cells in a frame are."""
