"""The Edge TPU target: a lowering in its operators, cut into segments that obey its rules."""
