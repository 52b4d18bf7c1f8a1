"""What a person sees and moves, in a real browser."""
