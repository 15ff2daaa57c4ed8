"""A /lib/modules tree as modprobe reads it."""
