"""Figures of studies: differences with intervals, heat maps, guidance; the headline study and the samplers."""

from daclip_lab.figures.ablation import headline, studies

__all__ = ["headline", "studies"]
