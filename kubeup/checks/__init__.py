"""Preflight and validation: one check a function, each able to say why it failed."""
