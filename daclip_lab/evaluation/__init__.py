"""Evaluation protocols and the evaluator."""
