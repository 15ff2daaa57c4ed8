"""Who is to blame: what was wasted, by which module, who asked for it, and what would help."""
