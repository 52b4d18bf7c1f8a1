"""Degradations as pure functions of (image, severity, generator): the ten of the paper and any that users register."""
