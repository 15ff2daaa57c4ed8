"""Machines and scenarios in virtual time."""
