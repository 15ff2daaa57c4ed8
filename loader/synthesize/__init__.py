"""Makes module files and trees of them."""
