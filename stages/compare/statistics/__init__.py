"""What the figures of a comparison are worth: intervals, differences, kinds of error.

The way through the package: persons (annotations and predictions) -> matching (COCO's,
once) -> bootstrap (images drawn again, the same ones for every cell of the same data)
-> intervals and differences. Beside it: errors (Ronchi and Perona's kinds), keypoints
and sizes, calibration and cost. tables gathers them into the frames of results/.
"""
