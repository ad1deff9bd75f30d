"""What a host can hold, the fact that reads it, the difference, the operation that applies it, the SSH session."""
