"""What goes in: images, degradations, scenes, captions, words and the pairs made of them."""
