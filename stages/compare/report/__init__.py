"""results/report.html: one page with every figure, its origin and what it means.

The way through the package: files (what compare has written) -> panels (a section
each, from a file each) -> page (the template). A panel is a function in PANELS that
gives tables and figures; one whose file is absent is left out and named.
"""
