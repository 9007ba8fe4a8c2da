"""Volumes of any size from a network, block by block; never imports Lightning."""
