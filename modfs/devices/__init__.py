"""Devices that a file describes, as /sys has them, with the kernel's events of them."""
