"""The pipeline: classifies, embeds and restores images; how it is stored and converted."""
