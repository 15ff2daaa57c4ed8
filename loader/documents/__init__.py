"""What people write: TOML, JSON and JSON lines, read by one library, every mistake told alike."""
