"""The training loop, the objectives, presets, devices and checkpoints."""
