"""Differentiable distances between media."""
