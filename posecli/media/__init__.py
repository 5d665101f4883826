"""Files and pixels: sources of frames, and what is written about them. No networks."""
