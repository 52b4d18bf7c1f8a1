"""Files on disk: downloads, atomic writes, path checks."""
