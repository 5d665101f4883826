"""The steps between a frame and its people: one function or small class each; no files, no device names."""
