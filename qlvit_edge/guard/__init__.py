"""The guard's arithmetic: whether an answer is of the kind that its model was made for."""
