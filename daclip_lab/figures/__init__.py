"""Figures: data in, matplotlib Figure out."""
