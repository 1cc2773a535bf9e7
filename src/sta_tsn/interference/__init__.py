"""Does temporal attention help? Clips laid among unrelated frames, and accuracy over their share."""
