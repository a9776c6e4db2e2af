"""What codecs share: their interface, Gaussians, peaks and Taylor steps."""
