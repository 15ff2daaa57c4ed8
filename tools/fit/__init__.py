"""Fits the costs of simulated boots on machines that were seen, and tests them on others."""
