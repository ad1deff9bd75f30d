"""inventories/demo.yaml for pyinfra's own command: `pyinfra inventories/demo.py deploy/up.py`.

KUBEUP_INVENTORY names another inventory.
"""

import os
from pathlib import Path

from kubeup.host.inventory import hosts

_groups = hosts(os.environ.get("KUBEUP_INVENTORY", Path(__file__).with_name("demo.yaml")))
masters = _groups["masters"]
nodes = _groups["nodes"]
