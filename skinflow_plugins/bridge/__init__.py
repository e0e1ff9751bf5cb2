"""The only package that knows ms-swift."""
