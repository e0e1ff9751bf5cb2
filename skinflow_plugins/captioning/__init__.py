"""Stage I data by the gate of the SkinFlow paper: captions from which the diagnosis can be recovered."""
