"""What one module file says about itself: bytes in, an answer or the kernel's errno out."""
