"""Pure functions on tensors: any device, no files, no configuration."""
