"""How good a classifier is: figures, pictures and the report."""
