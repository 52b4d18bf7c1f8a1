"""The ten degradations as pure functions of (image, severity, generator)."""
