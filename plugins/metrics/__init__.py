"""Metrics of predicted keypoints: during training, in evaluate and in compare."""
