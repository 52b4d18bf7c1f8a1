"""Ablations of the conditioning and of trainings."""
