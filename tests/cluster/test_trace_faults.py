"""Every fault of the table, injected for real: `kubeup trace` names it, its command mends it, and then all is well."""

import pytest

from .conftest import NewLab
from .faults import FAULTS, OUTSIDE, Fault, Way
from .support import Deployed


@pytest.fixture(scope="module")
def way(new_lab: NewLab) -> Way:
    """A cluster of two nodes: a client on the master, and what it asks on the other."""
    cluster = Deployed(new_lab(roles=["ai", "i"]))
    cluster.kubeup("up")
    way = Way(cluster)
    way.set_up()
    way.leave_expired_certificate()
    return way


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_fault_is_named_and_mended(way: Way, fault: Fault) -> None:
    way.shows(fault)


NFTABLES = [
    Fault("service-map-empty", "service-chain", "client",
          "systemctl kill --signal=STOP kube-proxy; nft flush map ip kube-proxy service-ips",
          ":; systemctl kill --signal=CONT kube-proxy; systemctl restart kube-proxy",
          ("no chain of the Service kube-system/kube-dns",)),  # it comes first, and goes with all others
    Fault("service-chain-empty", "service-chain", "client",
          "systemctl kill --signal=STOP kube-proxy; nft flush chain ip kube-proxy "
          "\"$(nft list map ip kube-proxy service-ips | sed -n 's/.* 8001 : goto \\([^ ,]*\\).*/\\1/p')\"",
          ":; systemctl kill --signal=CONT kube-proxy; systemctl restart kube-proxy",
          ("service-", "the Service's rules are gone")),
    Fault("masquerade-missing-nft", "masquerade-missing", "client",
          "systemctl kill --signal=STOP kube-proxy; nft flush chain ip kube-proxy masquerading",
          ":; systemctl kill --signal=CONT kube-proxy; systemctl restart kube-proxy",
          ("masquerades",), client=OUTSIDE, target="nodeport:30080"),
    *(fault for fault in FAULTS if fault.id in ("forward-dropped", "kube-proxy-stopped", "foreign-table-rejects")),
]  # fmt: skip


@pytest.fixture(scope="module")
def nftables(new_lab: NewLab) -> Way:
    """The same with kube-proxy in nftables mode."""
    cluster = Deployed(new_lab(roles=["ai", "i"], settings={"kube_proxy": {"mode": "nftables"}}))
    cluster.kubeup("up")
    way = Way(cluster)
    way.set_up()
    return way


@pytest.mark.slow
@pytest.mark.parametrize("fault", NFTABLES, ids=lambda fault: fault.id)
def test_faults_with_nftables(nftables: Way, fault: Fault) -> None:
    assert nftables.is_well()
    nftables.shows(fault)
