"""templates/addons/apply.sh with a cluster made of files: what comes, what goes, and what a kill leaves."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "templates" / "addons" / "apply.sh"

# Objects are files NAMESPACE.KIND.NAME with the owner in them; kinds in "unknown" are ones that the API does not have.
KUBECTL = r"""#!/bin/sh
cd "$CLUSTER" || exit 9
[ "$1" = --kubeconfig ] && shift 2
echo "$@" >>log
fail() { echo "$*" >&2; exit 1; }
known() { ! grep -qx "$1" unknown 2>/dev/null || fail "error: the server doesn't have a resource type \"$1\""; }
[ ! -e dead ] || fail "The connection to the server was refused"
case $1 in
api-versions) echo v1; exit ;;
version) printf '{\n "serverVersion": {\n  "gitVersion": "v1.36.3"\n }\n}\n'; exit ;;
esac
namespace=default
if [ "$1" = -n ]; then namespace=$2; shift 2; fi
case "$*" in
"create namespace "*) touch "namespace-$3"; exit 0 ;;
"get configmap kubeup-addons "*) cat list 2>/dev/null; exit 0 ;;
get*) known "$2"; cat "$namespace.$2.$3" 2>/dev/null; exit 0 ;;
delete*) known "$2"; echo "$2 $3" >>deleted; rm -f "$namespace.$2.$3"; exit 0 ;;
label*)
    cd "$OLDPWD" || exit 9
    case "$*" in *go-template*) sed -n 's/^object //p' "$4" ;; *) cat "$4" ;; esac
    exit ;;
esac
[ "$1" = apply ] || fail "what is $*?"
shift
files= failed=
while [ $# != 0 ]; do
    case $1 in
    -f) if [ -d "$2" ]; then files="$files $(ls "$2"/*.yaml)"; else files="$files $2"; fi; shift ;;
    --namespace) namespace=$2; shift ;;
    esac
    shift
done
cd "$OLDPWD" || exit 9
for file in $files; do
    if grep -q 'name: kubeup-addons' "$file"; then sed -n 's/^    //p' "$file" >"$CLUSTER/list"; continue; fi
    while read -r word api kind where name; do
        [ "$word" = object ] || continue
        if [ -e "$CLUSTER/refuse-$name" ]; then echo "$name is refused" >&2; failed=yes; continue; fi
        [ "$where" != - ] || where=$namespace
        case $api in */*) kind=$kind.${api%/*} ;; esac
        owner=${file##*/}
        echo "${owner%.yaml}" >"$CLUSTER/$where.$kind.$name"
    done <"$file"
done
[ -z "$failed" ]
"""

HELM = r"""#!/bin/sh
echo "$@" >"$CLUSTER/helm-arguments"
cat "$CLUSTER/chart"
"""


class Master:
    """A master's folders, and the cluster. An addon's objects are lines ``object APIVERSION KIND NAMESPACE NAME``."""

    def __init__(self, path: Path) -> None:
        self.cluster, self.folder = path / "cluster", path / "addons"
        self.run_folder, self.stamp = path / "run", path / "applied"
        for folder in (self.cluster, self.folder, self.run_folder, path / "bin"):
            folder.mkdir()
        text = SCRIPT.read_text()
        for real, ours in (
            ("/etc/kubernetes/addons", self.folder),
            ("/run/kubeup-addons", self.run_folder),
            ("/var/lib/kubeup/addons", self.stamp),
            ("/opt/kubeup/bin", path / "bin"),
        ):
            text = text.replace(real, str(ours))
        self.script = path / "apply"
        self.script.write_text(text.replace("patience=180", "patience=0"))
        for name, program in (("kubectl", KUBECTL), ("helm", HELM)):
            (path / "bin" / name).write_text(program)
            (path / "bin" / name).chmod(0o755)

    def wants(self, *charts: str, **addons: str) -> None:
        """Place these addons, NAME=its objects as "KIND NAMESPACE NAME, ...", and want nothing else but these charts.

        What an addon had that is no longer wanted lies there still, as on a master while this one's run goes on.
        """
        lines = []
        (self.folder / "list").write_text("".join(f"{one}\n" for one in [*(f"{a}.yaml" for a in addons), *charts]))
        for addon, objects in addons.items():
            parts = [one.split() for one in objects.split(",") if one.strip()]
            (self.folder / f"{addon}.yaml").write_text("".join(f"object v1 {' '.join(part)}\n" for part in parts))
            lines += [f"{addon} {' '.join(part)}\n" for part in parts]
        (self.folder / "objects").write_text("".join(lines))

    def apply(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(self.script)],
            env={**os.environ, "CLUSTER": str(self.cluster)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def boots(self) -> None:
        for file in self.run_folder.iterdir():
            file.unlink()

    def holds(self, word: str, text: str = "") -> None:
        (self.cluster / word).write_text(text)

    @property
    def objects(self) -> set[str]:
        return {path.name for path in self.cluster.glob("*.*.*")}

    @property
    def listed(self) -> list[str]:
        return (self.cluster / "list").read_text().splitlines()

    @property
    def deleted(self) -> list[str]:
        return (self.cluster / "deleted").read_text().splitlines() if (self.cluster / "deleted").exists() else []


@pytest.fixture
def master(tmp_path: Path) -> Master:
    return Master(tmp_path)


def test_what_is_wanted_comes_and_what_is_not_goes(master: Master) -> None:
    master.wants(one="ConfigMap n a, ConfigMap n b", two="Deployment.apps n c")
    assert master.apply().returncode == 0
    assert master.objects == {"n.ConfigMap.a", "n.ConfigMap.b", "n.Deployment.apps.c"}
    assert master.listed == ["one ConfigMap n a", "one ConfigMap n b", "two Deployment.apps n c"]
    master.holds("n.ConfigMap.theirs", "")
    master.wants(one="ConfigMap n b, ConfigMap n renamed")
    assert master.apply().returncode == 0
    assert master.objects == {"n.ConfigMap.b", "n.ConfigMap.renamed", "n.ConfigMap.theirs"}
    assert master.listed == ["one ConfigMap n b", "one ConfigMap n renamed"]
    assert master.deleted == ["ConfigMap a", "Deployment.apps c"]


def test_the_note_is_there_before_the_first_object(master: Master) -> None:
    master.wants(one="ConfigMap n a, ConfigMap n b")
    master.holds("refuse-a")
    master.holds("refuse-b")
    assert master.apply().returncode == 1
    assert master.objects == set()
    assert master.listed == ["one ConfigMap n a", "one ConfigMap n b"]
    # What an inventory brought that is no longer the one: it goes, though no run has ever come to its end.
    master.holds("n.ConfigMap.a", "one")
    master.wants(two="ConfigMap n c")
    assert master.apply().returncode == 0
    assert master.objects == {"n.ConfigMap.c"}


def test_what_somebody_has_taken_over_stays(master: Master) -> None:
    master.wants(one="ConfigMap n a, ConfigMap n b")
    master.apply()
    master.holds("n.ConfigMap.a", "")  # without the label
    master.wants(two="ConfigMap n c")
    assert master.apply().returncode == 0
    assert master.objects == {"n.ConfigMap.a", "n.ConfigMap.c"}
    assert master.listed == ["two ConfigMap n c"]


def test_custom_resources_go_first_and_what_holds_others_last(master: Master) -> None:
    crd = "CustomResourceDefinition.apiextensions.k8s.io default widgets"
    role = "Role.rbac.authorization.k8s.io n r"
    master.wants(one=f"Namespace default n, {crd}, Deployment.apps n a, Widget.example.com n w, {role}")
    master.apply()
    master.wants(two="ConfigMap n c")
    master.apply()
    order = [line.split()[0].split(".")[0] for line in master.deleted]
    assert order[0] == "Widget"
    assert set(order[1:3]) == {"Deployment", "Role"}
    assert order[3:] == ["CustomResourceDefinition", "Namespace"]


def test_an_object_whose_kind_has_gone_has_gone(master: Master) -> None:
    master.wants(one="Widget.example.com n w")
    master.apply()
    master.holds("unknown", "Widget.example.com\n")
    master.wants(two="ConfigMap n c")
    assert master.apply().returncode == 0
    assert master.listed == ["two ConfigMap n c"]


def test_an_addon_that_fails_keeps_no_other_from_coming_and_keeps_what_it_had(master: Master) -> None:
    master.wants(one="ConfigMap n old", two="ConfigMap n gone")
    master.apply()
    master.holds("refuse-new")
    master.wants(one="ConfigMap n new", three="ConfigMap n c")
    done = master.apply()
    assert done.returncode == 1
    assert "one: new is refused" in done.stderr
    assert (master.run_folder / "one.error").read_text() == "new is refused\n"  # for validation
    assert master.objects == {"n.ConfigMap.old", "n.ConfigMap.c"}
    assert "one ConfigMap n old" in master.listed
    (master.cluster / "refuse-new").unlink()
    assert master.apply().returncode == 0
    assert master.objects == {"n.ConfigMap.new", "n.ConfigMap.c"}
    assert not list(master.run_folder.glob("*.error"))


def test_after_a_boot_nothing_is_applied_that_was_before(master: Master) -> None:
    master.wants(one="ConfigMap n a")
    master.apply()
    master.boots()
    (master.cluster / "n.ConfigMap.a").unlink()  # another master took it away meanwhile
    assert master.apply().returncode == 0
    assert master.objects == set()
    assert master.apply().returncode == 0  # by somebody who restarts the unit
    assert master.objects == {"n.ConfigMap.a"}
    master.boots()
    master.wants(one="ConfigMap n a, ConfigMap n b")  # placed, and killed before the unit was restarted
    assert master.apply().returncode == 0
    assert master.objects == {"n.ConfigMap.a", "n.ConfigMap.b"}


def test_charts_are_rendered_and_come_and_go_like_manifests(master: Master) -> None:
    release = master.folder / "helm.web"
    release.mkdir()
    for name, text in (
        ("arguments", "web\n/chart\n--namespace=shop\n"),
        ("namespace", "shop\n"),
        ("values.yaml", "{}\n"),
    ):
        (release / name).write_text(text)
    master.wants("helm.web", one="ConfigMap n a")
    master.holds("chart", "object v1 ConfigMap - w\nobject apps/v1 Deployment other d\n")
    assert master.apply().returncode == 0
    assert {"helm.web ConfigMap shop w", "helm.web Deployment.apps other d"} <= set(master.listed)
    said = (master.cluster / "helm-arguments").read_text()
    assert said.startswith("template web /chart --namespace=shop --api-versions=v1 --values")
    assert "--kube-version=v1.36.3" in said
    assert (master.cluster / "namespace-shop").exists()
    master.wants(one="ConfigMap n a")
    master.apply()
    assert master.listed == ["one ConfigMap n a"]
    assert set(master.deleted) == {"ConfigMap w", "Deployment.apps d"}


def test_a_chart_with_hooks_is_refused(master: Master) -> None:
    release = master.folder / "helm.web"
    release.mkdir()
    for name, text in (("arguments", "web\n/chart\n"), ("namespace", "shop\n"), ("values.yaml", "{}\n")):
        (release / name).write_text(text)
    master.wants("helm.web", one="ConfigMap n a")
    master.holds("chart", json.dumps({"annotations": {"helm.sh/hook": "pre-install"}}, indent=1))
    done = master.apply()
    assert done.returncode == 1
    assert "helm.web: the chart has hooks" in done.stderr
    assert master.objects == {"n.ConfigMap.a"}
