"""This machine's own kernel: watched, recorded, mounted."""
