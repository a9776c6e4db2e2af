"""The compare stage: tables and plots of the cells that params.yaml names.

The way through the package: rows (collect) -> summary (over seeds) -> tables, plots,
pictures. Everything works on what is finished and names what is missing.
"""
