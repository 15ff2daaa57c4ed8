"""A file system of ours, served by this process itself or by libfuse."""
