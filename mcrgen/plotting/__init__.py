"""Figures; nothing here computes a statistic."""
