"""`kubeup validate --deep`: everything that the control plane promises, one check a function, side by side."""

from kubeup.checks.deep.runner import CHECKS, Deep, names, run_deep

__all__ = ["CHECKS", "Deep", "names", "run_deep"]
