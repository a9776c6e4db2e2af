"""Stage upscale: a crop store of one size becomes one of a larger size.

A pixel becomes factor x factor pixels that cover the same area. Crop pixel x is then
crop pixel ``factor * x + (factor - 1) / 2``: keypoints, and the affines to the image,
follow exactly; boxes and areas are of the image and stay. The box of a person spans the
centres of the first and last pixel of the *small* size, so that at 64x48 -> 256x192 it
is 252 pixels high, not 255 (`upscale=sharp` is the camera in this very frame).
"""
