"""Sweeps: cells of the user's choice, each brought up to date by DVC in its own job.

The way through the package: plan (its cells join params.yaml) -> pipeline (DVC says
what has changed, and makes what cells share) -> launch (Hydra's launchers) -> job (one
cell) -> table (what became of each). They meet in files: params.yaml, dvc.lock and the
sweep's folder in .work/sweep. So a sweep may be asked after, and called again, at any
time.
"""
