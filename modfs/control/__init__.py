"""Requests: their grammar, who makes them, and how they are carried out."""
