"""How an image is restored: the mean-reverting SDE and the samplers that walk it backwards."""
