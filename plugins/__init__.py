"""What MMPose is extended with: codecs, heads, losses, backbones, datasets, hooks."""
