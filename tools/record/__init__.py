"""Records what a kernel answers, in QEMU: `make record` (README.md)."""
