"""Optical flow: TV-L1, its files, the store of a dataset's flow, and flow as colour."""
