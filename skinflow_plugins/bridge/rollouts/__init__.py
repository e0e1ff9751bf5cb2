"""Rollouts by vLLM: it samples from the very model that trains, and nobody waits for it for ever."""
