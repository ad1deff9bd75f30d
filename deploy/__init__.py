"""The jobs: one module each, which reads from top to bottom as the list of its phases."""
