"""The kernel: its state, the load sequence, and the two clocks that drive it."""
