"""What is learned: CLIP, its degradation-aware controller, and the restorers that they steer."""
