"""The live page of a run: what the microscope sees and counts, in a browser."""
