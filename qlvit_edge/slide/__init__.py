"""Where each frame lies on the slide, so that a cell that is seen again is not counted again.

A smear's cells do not move against each other: the slide is one rigid picture of which every frame
shows a part. So no cell is tracked; each frame gets one translation.
"""
