"""Captions of clean images: by rule, by BLIP, from tables."""
