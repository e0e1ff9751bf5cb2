"""Rewards within swift's trainer: one scoring per batch, group means for failed rows, logs, and alarms."""
