"""Canvases: whole photos as training examples, of which patches and views are cut."""
