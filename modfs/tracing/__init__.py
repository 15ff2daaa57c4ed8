"""The kernel's event tracing (tracefs): its texts, its probes, its buffers."""
