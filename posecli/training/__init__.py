"""Training: COCO folders into memory, batches augmented on the device, the papers' losses, one loop."""
