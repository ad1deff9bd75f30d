"""Which versions may follow which."""

import pytest

from kubeup.cluster import skew


def running(**programs: str) -> dict[str, dict[str, tuple[str, str]]]:
    """One node that runs these, e.g. kubelet="1.35.4"."""
    return {
        "n1": {name.replace("_", "-"): ("etcd" if name == "etcd" else "kubernetes", v) for name, v in programs.items()}
    }


@pytest.mark.parametrize(
    ("programs", "kubernetes", "wrong"),
    [
        ({"kube_apiserver": "1.35.4"}, "1.36.3", ""),
        ({"kube_apiserver": "1.36.1"}, "1.36.3", ""),
        ({"kube_apiserver": "1.36.3"}, "1.36.3", ""),
        ({"kube_apiserver": "1.34.9"}, "1.36.3", "kube-apiserver 1.34.9 runs, and 1.36.3 skips 1.35"),
        ({"kube_apiserver": "1.33.0"}, "1.36.3", "skips 1.34, 1.35"),
        ({"kube_scheduler": "1.34.9"}, "1.36.3", "skips 1.35"),
        ({"kube_apiserver": "0.36.3"}, "1.36.3", "skips a major version"),
        ({"kube_apiserver": "1.36.3"}, "1.35.4", "kube-apiserver 1.36.3 runs, and 1.35.4 is older"),
        ({"kube_apiserver": "1.36.3"}, "1.36.2", "is older"),
        ({"kube_apiserver": "1.36.3"}, "1.36.3-rc.1", "is older"),
        # a kubelet may be three minors older than the apiserver, and goes all the way at once
        ({"kube_apiserver": "1.35.4", "kubelet": "1.33.1"}, "1.36.3", ""),
        ({"kube_apiserver": "1.35.4", "kubelet": "1.32.1"}, "1.36.3", "kubelet 1.32.1 runs, and 1.36.3 skips"),
        ({"kubelet": "1.36.3"}, "1.35.4", "kubelet 1.36.3 runs, and 1.35.4 is older"),
        ({"etcd": "3.6.7"}, "1.36.3", ""),
        ({"etcd": "3.5.20"}, "1.36.3", ""),
        ({"etcd": "3.4.30"}, "1.36.3", "etcd 3.4.30 runs, and 3.6.8 skips 3.5"),
        ({"etcd": "3.6.9"}, "1.36.3", "is older"),
    ],
)
def test_what_is_forbidden(programs: dict[str, str], kubernetes: str, wrong: str) -> None:
    found = skew.problems(running(**programs), {"kubernetes": kubernetes, "etcd": "3.6.8"})
    assert [wrong in problem.what for problem in found] == ([True] if wrong else []), found


def test_what_is_in_between_is_named_where_the_catalogue_has_it() -> None:
    found = skew.problems(running(kube_apiserver="1.34.1"), {"kubernetes": "1.36.3", "etcd": "3.6.8"})
    assert found[0].remedy == "upgrade to 1.35.4 first"
    found = skew.problems(running(kube_apiserver="1.33.1"), {"kubernetes": "1.35.4", "etcd": "3.6.8"})
    assert "has no kubernetes in between" in found[0].remedy


def test_nodes_of_one_kind_are_told_together() -> None:
    programs = running(kubelet="1.36.3")["n1"]
    found = skew.problems({"n1": programs, "n2": programs}, {"kubernetes": "1.35.4", "etcd": "3.6.8"})
    assert [problem.where for problem in found] == ["n1, n2"]


def test_kubelets_wait_for_the_last_apiserver_alone() -> None:
    old, new = running(kube_apiserver="1.35.4")["n1"], running(kube_apiserver="1.36.3")["n1"]
    assert skew.kubelets_wait({"n1": new, "n2": old, "n3": {}}, "1.36.3")
    assert not skew.kubelets_wait({"n1": new, "n2": new}, "1.36.3")
    assert not skew.kubelets_wait({"n1": running(kube_apiserver="1.36.1")["n1"]}, "1.36.3")


def test_versions_are_compared_as_numbers() -> None:
    versions = ["1.9.9", "1.10.0-rc.1", "1.10.0", "1.10.2", "1.10.10"]
    assert sorted(["1.10.2", "1.10.10", "1.9.9", "1.10.0", "1.10.0-rc.1"], key=skew.parts) == versions
    with pytest.raises(ValueError, match=r"'1\.2' is not a version"):
        skew.parts("1.2")


def test_etcd_cannot_go_back_by_a_minor() -> None:
    assert "restore the snapshot" in skew.cannot_go_back("etcd", "3.7.0", "3.6.8")
    assert skew.cannot_go_back("etcd", "3.6.8", "3.6.7") == ""
    assert skew.cannot_go_back("kubernetes", "1.36.3", "1.35.4") == ""
