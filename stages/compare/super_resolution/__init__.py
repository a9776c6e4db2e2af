"""Ways to read a small person (as it is, upscaled, sharp): their AP and cost."""
