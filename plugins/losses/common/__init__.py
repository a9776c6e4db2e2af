"""What losses share: masked means, their sum, and what can be added to any method."""
