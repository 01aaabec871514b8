"""Data: a folder of images -> checked, decoded splits, and what gives their labels away."""
