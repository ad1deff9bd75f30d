"""The command: what a person types, and what they see. No logic of its own."""
