"""Inventories of other tools, read as data: they become an inventory of ours, and what has no counterpart is told.

``read`` takes a file of either kind: the config-default.sh of 2015's cluster/ubuntu (``kube_up``), or an inventory of
kubespray (``kubespray``). Nothing of what is read is ever run.
"""

from kubeup.elsewhere.imported import Imported, Left, read, write

__all__ = ["Imported", "Left", "read", "write"]
