"""Keys are root's alone, and are seen nowhere else."""

from ..support import FAILED
from .conftest import Shared


def test_keys_belong_to_root_alone(cluster: Shared) -> None:
    for name in cluster.names:
        holders = cluster.on(
            name,
            "grep -rlE -e '-----BEGIN ([A-Z]+ )?PRIVATE KEY' /etc /opt /root /home /usr/local /var/lib/kubelet"
            " 2>/dev/null | grep -vE '^/etc/ssh/|^/opt/kubeup/' | xargs stat -c '%a %U %n'",
        ).splitlines()
        assert len(holders) >= 4, f"{name} holds no keys?"
        wrong = [line for line in holders if not line.startswith("600 root /etc/")]
        assert not wrong, f"on {name}: {wrong}"


def test_authorities_keys_are_on_masters_alone(cluster: Shared) -> None:
    for name in cluster.names:
        there = cluster.on(name, "find / -xdev -name '*ca.key' -o -xdev -name sa.key").split()
        assert bool(there) == (name == cluster.master), f"{name} holds {there}"


def test_keys_are_seen_nowhere_else(cluster: Shared) -> None:
    for name in cluster.names:
        journal = cluster.on(name, "journalctl --no-pager -o cat --all")
        assert "kubelet" in journal
        assert "PRIVATE KEY" not in journal
        assert (
            cluster.on(name, "ls -A /tmp | grep -vE '^(systemd-private-|\\.(ICE|X11|XIM|font)-unix|\\.X)' || true")
            == ""
        )
        environments = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
        assert "PRIVATE KEY" not in cluster.on(name, environments)


def test_kubeup_prints_no_key(cluster: Shared) -> None:
    printed = [done.text for done in cluster.story.values()]
    printed += [
        cluster.kubeup(*command).text for command in (("plan", "--json"), ("status", "--json"), ("up", "--json"))
    ]
    assert not any("PRIVATE KEY" in text for text in printed)
    # Not even where a file with a key differs:
    cluster.on(cluster.master, "echo x >>/etc/kubernetes/pki/admin.key")
    shown = cluster.kubeup("plan", code=None).text
    cluster.on(cluster.master, "sed -i '$d' /etc/kubernetes/pki/admin.key")
    assert "/etc/kubernetes/pki/admin.crt" in shown
    assert "PRIVATE KEY" not in shown
    assert cluster.differences() == {}


def test_a_key_that_nobody_holds_any_more_is_told_before_anything_is_changed(cluster: Shared) -> None:
    key = cluster.on(cluster.master, "readlink -f /etc/kubernetes/pki/sa.key").strip()
    cluster.on(cluster.master, 'echo x >>"$1"', key)
    refused = cluster.kubeup("up", code=FAILED)
    cluster.on(cluster.master, 'sed -i "\\$d" "$1"', key)
    assert f"{key} is needed, and no master holds it any more" in refused.text
    assert "PRIVATE KEY" not in refused.text
    assert cluster.differences() == {}


def test_record_holds_no_key(cluster: Shared) -> None:
    for name in cluster.names:
        # kubectl's cache holds the API's own documentation, which has an example of one.
        assert cluster.on(name, "grep -rl --exclude-dir=kubectl 'PRIVATE KEY' /var/lib/kubeup || true") == ""
        assert cluster.on(name, "stat -c %a /var/lib/kubeup/record") == "600"
