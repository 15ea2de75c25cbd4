"""Running a model on this device: runtime and kernels, classifier, processes of its own.

`interpreter` runs a .tflite file on the kernels that are asked for, `chain` one that is cut for
an Edge TPU, `classifier` turns an image into a class. `arithmetic` says which integer
arithmetic ran and whether it is proved; `golden` and `twin` hold the runtime to it. Imports
nothing of `microscope` or `measuring`.
"""
