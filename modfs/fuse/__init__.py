"""A file system of ours on libfuse."""
