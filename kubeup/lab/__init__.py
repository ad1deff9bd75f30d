"""Throwaway hosts to try things on: Docker containers that are as much of a host as systemd and Kubernetes ask for.

::

    ensure_engine(install=True, say=print)
    lab = create("demo", hosts=3)
    lab.exec("demo-1", "systemctl", "is-system-running")
    destroy("demo")
"""

from kubeup.lab.engine import ensure_engine
from kubeup.lab.hosts import Lab, container, create, destroy, find, labs, start
from kubeup.lab.image import ensure_image
from kubeup.lab.inventory import LabNode
from kubeup.lab.leftovers import owner, sweep, this_process

__all__ = [
    "Lab",
    "LabNode",
    "container",
    "create",
    "destroy",
    "ensure_engine",
    "ensure_image",
    "find",
    "labs",
    "owner",
    "start",
    "sweep",
    "this_process",
]
