"""Recordings of booted kernels, replayed and compared."""
