"""Unmodified programs that find a kernel which loads modules."""
