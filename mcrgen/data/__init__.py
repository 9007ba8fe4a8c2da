"""Training data: one exemplar, its patterns, and built-in media."""
