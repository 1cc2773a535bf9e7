"""Does temporal attention help? Clips among unrelated frames, and accuracy over their share."""
