"""Scenarios that a real kernel is asked, and what it answers, as a recording."""
