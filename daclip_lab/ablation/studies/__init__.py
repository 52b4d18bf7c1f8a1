"""The studies, by name."""
