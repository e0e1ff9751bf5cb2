"""The recipes that come with SkinFlow plugins: one YAML document each, shipped as `skinflow_recipes`."""
