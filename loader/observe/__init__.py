"""A kernel that others run: its module loads as they were seen, put together, accounted, kept."""
