"""local-path-provisioner: volumes that are folders of the node where their pod runs.

The provisioner runs on a master. On the volume's node it starts a pod for a moment, which makes the folder: that has
to be root's, and has no shell but a program of ours (see kubeup/components/modules/volume-helper).
"""

import json
from collections.abc import Mapping, Sequence

from kubeup.cluster import Cluster, Node
from kubeup.components import image_reference
from kubeup.host.facts import HostFacts
from kubeup.roles.addons.placement import ON_MASTERS, tolerations
from kubeup.roles.common import version_of
from kubeup.templates import render

NAME = "local-path"
COMPONENT = "local-path-provisioner"
HELPER = "volume-helper"
HELPER_PROGRAM = "/kubeup-volume-helper"


def images(cluster: Cluster) -> Mapping[str, Sequence[Node]]:
    return {COMPONENT: cluster.masters, HELPER: cluster.nodes} if cluster.addons.local_path else {}


def manifests(cluster: Cluster, host: HostFacts) -> Mapping[str, str]:
    settings = cluster.addons.local_path
    if not settings:
        return {}
    config = {
        "nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [settings.path]}],
        "setupCommand": HELPER_PROGRAM,
        "teardownCommand": HELPER_PROGRAM,
    }
    text = render(
        "local_path/local-path.yaml.j2",
        image=image_reference(COMPONENT, version_of(cluster, COMPONENT)),
        helper_image=image_reference(HELPER, version_of(cluster, HELPER)),
        config=json.dumps(config),
        default=settings.default,
        node_selector=ON_MASTERS,
        tolerations=tolerations(cluster.masters),
    )
    return {NAME: text}
