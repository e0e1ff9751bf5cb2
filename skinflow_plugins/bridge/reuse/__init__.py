"""Work that swift's GRPO trainer does twice in a step, and that is done once here: where that is safe."""
