"""Datasets: keypoint sets and the crop store that training and evaluation read."""
