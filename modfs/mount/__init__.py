"""The mounted directory: its files, and mounting, serving, unmounting it."""
