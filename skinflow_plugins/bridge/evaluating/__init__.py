"""Evaluation while a stage trains: greedy answers, their figures, and the best checkpoint."""
