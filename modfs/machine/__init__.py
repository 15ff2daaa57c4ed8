"""What a machine is, as far as it decides its boot: looked up, and written as a machine file."""
