"""Bring a cluster to what its inventory says, and prove that it works."""

from kubeup.deploy.members import ExistingEtcd, Members
from kubeup.deploy.one_by_one import APISERVER, ETCD, InTurn
from kubeup.deploy.phases import Converge, Distribute, Phase, Preflight, Tidy, Validate
from kubeup.deploy.under_pyinfra import declare
from kubeup.roles import (
    addons,
    apiserver,
    approver,
    authorities,
    balancer,
    base,
    containerd,
    controller_manager,
    etcd,
    etcd_client,
    firewall,
    flannel,
    kube_proxy,
    kubelet,
    registry,
    runtime,
    scheduler,
    snapshots,
    sources,
    virtual_ip,
)

PHASES: list[Phase] = [
    Preflight(),
    # First of all, and on the masters alone: a run that is killed later finds the authorities again.
    Converge("Authorities", roles=[authorities]),
    Distribute(),
    # Before packages are installed, which come by these ways.
    Converge("Sources", roles=[sources]),
    Converge("Hosts", roles=[base, firewall, containerd, runtime, balancer, virtual_ip]),
    Members(),
    # Side by side in a new cluster: every member must be configured before one waits for a quorum of them.
    InTurn("etcd", roles=[etcd, etcd_client, snapshots], unit=ETCD),
    ExistingEtcd(),
    InTurn("Control plane", roles=[apiserver, controller_manager, scheduler, approver, addons], unit=APISERVER),
    # After the control plane: a kubelet that finds no API waits for seconds before it asks again.
    Converge("Nodes", roles=[flannel, kubelet, kube_proxy, registry]),
    Tidy(),
    Validate(),
]

declare(PHASES, __file__)  # for `pyinfra inventories/demo.py deploy/up.py`; nothing when imported
