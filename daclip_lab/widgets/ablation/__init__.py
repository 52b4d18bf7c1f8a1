"""The parts of an `AblationExplorer`: numbers, crops, what its script draws, and the static copy."""
