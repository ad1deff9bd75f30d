"""The admin's access to a cluster, as a kubeconfig."""

from __future__ import annotations

import base64

import yaml

from kubeup.cluster import api_endpoint
from kubeup.cluster.trust import KUBERNETES
from kubeup.deploy.run import Run
from kubeup.errors import KubeupError
from kubeup.roles.common import PKI


def fetch(run: Run) -> str:
    """A kubeconfig with everything in it, YAML. Raises KubeupError when the cluster is not up."""
    master = run.masters[0].name
    if ("file", f"{PKI}/admin.crt") not in run.readings[master].record:
        raise KubeupError(f"the cluster {run.cluster.name} is not up: {master} has no admin certificate (kubeup up)")
    return of_a_cluster_that_is_up(run)


def of_a_cluster_that_is_up(run: Run) -> str:
    """The same, without looking whether it is up."""
    master = run.masters[0].name
    name = run.cluster.name

    def data(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": api_endpoint(run.cluster),
                    "certificate-authority-data": data(run.vault.trust.bundle_pem(KUBERNETES)),
                },
            }
        ],
        "users": [
            {
                "name": f"{name}-admin",
                "user": {
                    "client-certificate-data": data(run.fetch(master, f"{PKI}/admin.crt")),
                    "client-key-data": data(run.fetch(master, f"{PKI}/admin.key")),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": f"{name}-admin"}}],
        "current-context": name,
    }
    return yaml.safe_dump(config, sort_keys=False)
