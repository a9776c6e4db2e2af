"""Hooks of MMEngine's Runner: learning curves, and going on after a kill."""
