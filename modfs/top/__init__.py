"""What happens in a mount, live, in a terminal."""
