"""An OpenAI-compatible server of a checkpoint; vLLM runs as a child of ours, and nothing here imports it."""
