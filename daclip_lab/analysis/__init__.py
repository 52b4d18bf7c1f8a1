"""What is measured: accuracy, restoration quality and embeddings, always with intervals."""
