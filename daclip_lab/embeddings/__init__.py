"""Analysis of embeddings."""
