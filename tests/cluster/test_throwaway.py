"""Throwaway clusters as CI uses them: `kubeup lab run`, the pytest plugin, and nothing left of either."""

import io
import re
import signal
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard

from kubeup.components import DEFAULT_VERSIONS, Store
from kubeup.lab import labs
from kubeup.lab.inventory import folder_of

from .support import FAILED, USAGE, Done, Running, eventually, kubeup, starting

PREFIXES = ("run-", "pytest-", "prepare-")


def throwaway() -> dict[str, Path]:
    """The throwaway labs that there are, with their folders."""
    return {lab.name: folder_of(lab.name) for lab in labs() if lab.name.startswith(PREFIXES)}


def docker(*arguments: str) -> list[str]:
    """What the docker client prints, by lines."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def traces(name: str) -> list[str]:
    """All that is left of a lab: containers, networks, files; volumes have no name, and go with the containers."""
    found = docker("ps", "--all", "--quiet", "--filter", f"label=kubeup.lab={name}")
    found += docker("network", "ls", "--quiet", "--filter", f"label=kubeup.lab={name}")
    return found + [str(path) for path in [folder_of(name)] if path.exists()]


def lab_of(done: Done) -> str:
    """The name of the lab that a `kubeup lab run` has made."""
    match = re.search(r"^lab (run-\w+): starting", done.err, re.MULTILINE)
    assert match, done
    return match[1]


@pytest.fixture(scope="module", autouse=True)
def prepared(engine: None) -> None:
    """The images of prepared hosts: made once, and then kept for all who come after."""
    kubeup("lab", "prepare", timeout=600)


def test_a_command_has_a_cluster_and_nothing_is_left_even_of_a_run_that_was_killed(tmp_path: Path) -> None:
    before = throwaway()  # of others on this machine
    killed = starting("lab", "run", "--hosts", "1", "--", "true")
    made = eventually(
        lambda: [name for name in throwaway().keys() - before if docker("ps", "-q", "-f", f"name={name}-1")], 120
    )
    assert made
    killed.signal(signal.SIGKILL)
    assert traces(made[0])

    script = (
        f"kubectl get nodes -o name; {sys.executable} -m kubeup status >/dev/null; env | grep ^KUBEUP_; "
        'stat -c %a "$KUBECONFIG"; kubectl run web --image=$0 >&2; '
        "kubectl wait --for=condition=Ready --timeout=60s pod/web >&2; exit 7"
    )
    done = kubeup(
        "lab", "run", "--hosts", "1", "--", "sh", "-c", script, "kubeup.local/probe:1.1.0", code=7, timeout=300
    )

    name = lab_of(done)
    assert f"lab {made[0]}: its owner is gone, removing it" in done.err
    assert f"node/{name}-1" in done.out.splitlines()
    assert f"KUBEUP_LAB={name}" in done.out.splitlines()
    assert done.out.splitlines()[-1] == "600"  # stat: none but the user may read the kubeconfig
    assert "Components" not in done.err, "the hosts were prepared, so nothing had to be sent"
    assert "condition met" in done.err
    assert traces(made[0]) == []
    assert traces(name) == []


TESTS = """
    import pytest

    IMAGE = "{image}"


    def test_the_client_and_kubectl(kubeup_cluster):
        client = pytest.importorskip("kubernetes.client")
        nodes = client.CoreV1Api(kubeup_cluster.client).list_node().items
        assert [node.metadata.name for node in nodes] == sorted(kubeup_cluster.addresses)
        assert "Ready" in kubeup_cluster.kubectl("get", "nodes")


    def test_an_image_that_no_registry_has(kubeup_cluster):
        kubeup_cluster.load_image(IMAGE)
        kubeup_cluster.kubectl("run", "mine", f"--image={{IMAGE}}", "--image-pull-policy=Never")
        kubeup_cluster.kubectl("wait", "--for=condition=Ready", "--timeout=60s", "pod/mine")


    def test_that_fails(kubeup_cluster):
        kubeup_cluster.kubectl("run", "sad", "--image=kubeup.local/none:1", "--image-pull-policy=Never")
        assert 0, "on purpose"
"""


@pytest.fixture
def image() -> Iterator[str]:
    """A small image that only the Docker engine has."""
    name = "kubeup-test-image:dev"
    artifact = Store().find("pause", DEFAULT_VERSIONS["pause"])
    content = zstandard.ZstdDecompressor().decompress(artifact.path.read_bytes(), max_output_size=artifact.size)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo("waits")
        info.size, info.mode = len(content), 0o755
        tar.addfile(info, io.BytesIO(content))
    command = ["docker", "import", "--change", 'ENTRYPOINT ["/waits"]', "-", name]
    subprocess.run(command, input=packed.getvalue(), capture_output=True, check=True)
    yield name
    docker("image", "rm", name)


def run_pytest(tmp_path: Path, tests: str, *options: str, timeout: float = 300) -> Done:
    """Run pytest on ``tests`` as another project would that has kubeup installed."""
    (tmp_path / "test_it.py").write_text(textwrap.dedent(tests))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "kubeup.pytest_plugin", "-p", "no:cacheprovider", *options]
    return Running(*command, cwd=tmp_path, env={"KUBEUP_LAB": None}).wait(timeout)


def test_the_fixture_of_the_pytest_plugin(tmp_path: Path, image: str) -> None:
    done = run_pytest(tmp_path, TESTS.format(image=image), "-v")

    assert done.code == 1, done
    assert re.search("1 failed, (2 passed|1 passed, 1 skipped)", done.out), done
    sections = re.findall(r"^-+ (cluster|journal of) (pytest-\S+) -+$", done.out, re.MULTILINE)
    assert [kind for kind, _ in sections] == ["cluster", "journal of"], done
    assert "pod/sad" in done.out
    assert "ErrImageNeverPull" in done.out
    assert "kubelet" in done.out  # in the journal
    assert traces(sections[0][1]) == []


@pytest.mark.slow
def test_a_cluster_that_is_left_after_a_failure_survives_a_sweep(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "def test_it(kubeup_cluster): assert 0", "--kubeup-keep-on-failure")
    assert done.code == 1, done
    match = re.search(r"kubeup lab destroy (pytest-\w+)", done.out)
    assert match, done
    name = match[1]
    try:
        kubeup("lab", "sweep")
        assert name in throwaway()
        kubeup("status", inventory=throwaway()[name] / "cluster.yaml")
    finally:
        kubeup("lab", "destroy", name)
    assert traces(name) == []


def there_is() -> dict[str, set[str]]:
    """All that Docker has, and the throwaway labs, by kind."""
    return {
        "labs": set(throwaway()),
        "containers": set(docker("ps", "--all", "--quiet")),
        "networks": set(docker("network", "ls", "--quiet")),
        "volumes": set(docker("volume", "ls", "--quiet")),
    }


def nothing_is_left(done: list[Done], before: dict[str, set[str]]) -> None:
    """Assert that nothing is there that was not, and nothing with the names of these runs' labs in any case."""
    assert [trace for each in done for trace in traces(lab_of(each))] == []
    if not labs():  # others may use this Docker engine meanwhile
        assert {kind: now - before[kind] for kind, now in there_is().items()} == {kind: set() for kind in before}


def one_run(_: int = 0) -> Done:
    """A cluster of one node, and what it says of it."""
    done = kubeup(
        "lab", "run", "--hosts", "1", "--", "kubectl", "get", "nodes", "-o", "wide", "--no-headers", timeout=800
    )
    assert " Ready " in done.out, done
    return done


@pytest.mark.slow
def test_ten_one_after_another() -> None:
    before = there_is()
    nothing_is_left([one_run() for _ in range(10)], before)


@pytest.mark.slow
def test_four_side_by_side() -> None:
    """No clash of names, networks or ports."""
    before = there_is()
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(one_run, range(4)))
    assert len({each.out.split()[0] for each in done}) == 4
    assert len({each.out.split()[5] for each in done}) == 4  # INTERNAL-IP
    nothing_is_left(done, before)


def test_bad_input_is_told_before_anything_is_made() -> None:
    """How the command tells it; what all is refused, the unit tests have."""
    before = throwaway()
    kubeup("lab", "run", code=USAGE)
    assert "there is no such command" in kubeup("lab", "run", "--", "no-such-program", code=FAILED).err
    assert "unknown key nonsense" in kubeup("lab", "run", "--addon", "nonsense", "--", "true", code=USAGE).err
    assert throwaway() == before
