"""The parts of the EmbeddingExplorer."""
