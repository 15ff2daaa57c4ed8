"""Module loads drawn over time: a page to look through, a still picture, events for Perfetto."""
