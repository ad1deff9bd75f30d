"""What brings traffic in from outside: MetalLB and Traefik as the masters apply them."""

from typing import Any

import pytest
import yaml

from kubeup.host.resources import Blob, File, Link

POOL = {"metallb": {"addresses": ["10.0.0.60-10.0.0.69", "10.0.0.80"]}}


def objects(world: Any, cluster: Any, addon: str) -> dict[tuple[str, str], Any]:
    """The objects of an addon by kind and name."""
    desired = world.desired(cluster, cluster.masters[0])
    _, file = desired["file", f"/etc/kubernetes/addons/{addon}.yaml"]
    assert isinstance(file, File)
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(file.content)}


def images(world: Any, cluster: Any, node: Any) -> dict[str, str]:
    """The images that containerd imports on a node: file by name."""
    desired = world.desired(cluster, node)
    return {
        resource.path.rpartition("/")[2].removesuffix(".tar"): resource.target
        for _, resource in desired.values()
        if isinstance(resource, Link) and resource.path.startswith("/opt/kubeup/images/")
    }


def test_the_pool_is_what_the_inventory_says(world: Any) -> None:
    made = objects(world, world.cluster(addons=POOL), "metallb")
    assert made["IPAddressPool", "kubeup"]["spec"]["addresses"] == ["10.0.0.60-10.0.0.69", "10.0.0.80-10.0.0.80"]
    assert made["L2Advertisement", "kubeup"]["spec"] == {"ipAddressPools": ["kubeup"]}


def test_chosen_nodes_alone_answer_for_the_pool(world: Any) -> None:
    cluster = world.cluster(addons={"metallb": {"addresses": ["10.0.0.60"], "nodes": ["n2", "n3"]}})
    (selector,) = objects(world, cluster, "metallb")["L2Advertisement", "kubeup"]["spec"]["nodeSelectors"]
    assert selector["matchExpressions"] == [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2", "n3"]}]
    assert [node.name for node in cluster.announcing_nodes] == ["n2", "n3"]
    assert cluster.speakers == cluster.nodes  # so that what is running need not be restarted for another choice


def test_every_kind_that_metallb_has_is_there(world: Any) -> None:
    """It stops when it cannot watch one of them."""
    made = objects(world, world.cluster(addons=POOL), "metallb")
    kinds = {crd["spec"]["names"]["kind"] for (kind, _), crd in made.items() if kind == "CustomResourceDefinition"}
    assert kinds == {
        "IPAddressPool",
        "L2Advertisement",
        "BGPAdvertisement",
        "BGPPeer",
        "BFDProfile",
        "Community",
        "ServiceL2Status",
        "ServiceBGPStatus",
    }


def test_the_speakers_may_do_no_more_than_they_must(world: Any) -> None:
    pod = objects(world, world.cluster(addons=POOL), "metallb")["DaemonSet", "speaker"]["spec"]["template"]["spec"]
    assert pod["hostNetwork"] is True
    (container,) = pod["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_RAW"]}
    assert "privileged" not in container["securityContext"]


def test_images_are_where_their_pods_may_run(world: Any) -> None:
    cluster = world.cluster("ai i i", addons={**POOL, "traefik": {"nodes": ["n3"]}})
    held = [
        set(images(world, cluster, node)) & {"metallb-controller", "metallb-speaker", "traefik"}
        for node in cluster.nodes
    ]
    assert held == [{"metallb-controller", "metallb-speaker"}, {"metallb-speaker"}, {"metallb-speaker", "traefik"}]
    target = images(world, cluster, cluster.nodes[2])["metallb-speaker"]
    assert target == "/opt/kubeup/metallb/0.15.2/metallb-speaker.tar"
    assert isinstance(world.desired(cluster, cluster.nodes[2])["blob", target][1], Blob)


def test_without_them_nothing_is_there(world: Any) -> None:
    cluster = world.cluster()
    desired = world.desired(cluster, cluster.nodes[0])
    for addon in ("metallb", "traefik"):
        assert ("file", f"/etc/kubernetes/addons/{addon}.yaml") not in desired
    assert not {"metallb-speaker", "traefik"} & set(images(world, cluster, cluster.nodes[0]))


def test_traefik_runs_on_its_nodes_whatever_their_taints(world: Any) -> None:
    cluster = world.cluster("a i i", addons={"traefik": {"nodes": ["n1", "n2"]}})
    pod = objects(world, cluster, "traefik")["DaemonSet", "traefik"]["spec"]["template"]["spec"]
    (label,) = pod["nodeSelector"]
    nodes = yaml.safe_load(
        world.desired(cluster, cluster.nodes[0])["file", "/etc/kubernetes/addons/nodes.yaml"][1].content
    )
    assert [n["metadata"]["name"] for n in nodes["items"] if label in n["metadata"]["labels"]] == ["n1", "n2"]
    assert "node-role.kubernetes.io/control-plane" in [t["key"] for t in pod["tolerations"]]


def test_another_node_for_traefik_restarts_no_other(world: Any) -> None:
    one, two = (
        objects(world, world.cluster("ai i i", addons={"traefik": {"nodes": nodes}}), "traefik")["DaemonSet", "traefik"]
        for nodes in (["n1", "n2"], ["n1", "n2", "n3"])
    )
    assert one == two


@pytest.mark.parametrize(
    ("vip", "address"), [({"ingress-vip": {"address": "10.0.0.99"}}, "10.0.0.99"), ({}, "10.0.0.2")]
)
def test_ingresses_show_the_address_that_clients_use(world: Any, vip: Any, address: str) -> None:
    cluster = world.cluster(addons={"traefik": {"nodes": ["n2", "n3"]}, **vip})
    (container,) = objects(world, cluster, "traefik")["DaemonSet", "traefik"]["spec"]["template"]["spec"]["containers"]
    assert f"--providers.kubernetesingress.ingressendpoint.ip={address}" in container["args"]


@pytest.mark.parametrize(
    ("mode", "addons", "strict"), [("ipvs", POOL, True), ("ipvs", {}, False), ("iptables", POOL, False)]
)
def test_one_node_alone_answers_for_an_address_in_ipvs_mode_too(
    world: Any, mode: str, addons: Any, strict: bool
) -> None:
    cluster = world.cluster(kube_proxy={"mode": mode}, addons=addons)
    for node in cluster.nodes:
        config = yaml.safe_load(world.desired(cluster, node)["file", "/etc/kubernetes/kube-proxy.yaml"][1].content)
        assert config.get("ipvs", {}).get("strictARP", False) is strict
