"""A plug-in whose import fails: it must be shown with its reason and must stop nothing."""

raise RuntimeError("the dermatoscope is not plugged in")
