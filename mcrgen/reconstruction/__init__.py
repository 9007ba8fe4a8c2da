"""Reconstruction: media found by optimising their voxels instead of a network."""
