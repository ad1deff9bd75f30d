"""The catalogue is data; these tests find the slips that data can have."""

import re
from collections import Counter

import pytest

from kubeup.components import COMPONENTS, DEFAULT_VERSIONS, Component, Program, catalogue
from kubeup.errors import ComponentError

each_component = pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: f"{c.name}-{c.version}")


@each_component
def test_a_component_is_pinned(component: Component) -> None:
    go_mod = (component.module_dir / "go.mod").read_text()
    assert go_mod.startswith(f"module kubeup.invalid/{component.name}\n")
    if "require" in go_mod:  # our own programs need nothing but Go
        assert "h1:" in (component.module_dir / "go.sum").read_text()


@each_component
def test_a_programs_module_is_one_that_go_mod_names(component: Component) -> None:
    go_mod = (component.module_dir / "go.mod").read_text()
    modules = re.findall(r"^(?:module|require|\t)\s*(\S+\.\S+)", go_mod, re.MULTILINE)
    for program in component.programs:
        assert any(f"{program.package}/".startswith(f"{module}/") for module in modules), program


@each_component
def test_the_pinned_version_is_the_components(component: Component) -> None:
    go_mod = (component.module_dir / "go.mod").read_text()
    if not component.programs[0].package.startswith("kubeup.invalid/"):  # our own have no version elsewhere
        module = next(
            m for m in re.findall(r"(\S+) v\S+", go_mod) if f"{component.programs[0].package}/".startswith(f"{m}/")
        )
        assert f"{module} v{component.version}\n" in go_mod


@each_component
def test_go_gives_each_program_another_name(component: Component) -> None:
    names = [program.built_name for program in component.programs]
    assert len(set(names)) == len(names)
    # renaming one after another must not overwrite one that is yet to be renamed
    assert not any(p.name in names and p.name != p.built_name for p in component.programs)


@each_component
def test_images_are_made_of_a_program_of_their_component(component: Component) -> None:
    for image in component.images:
        assert image.program in {program.name for program in component.programs}


def test_an_artifacts_name_belongs_to_one_component() -> None:
    owners = {(name, component.name) for component in COMPONENTS for name in component.artifacts}
    assert [name for name, count in Counter(name for name, _ in owners).items() if count > 1] == []


def test_every_module_folder_is_in_the_catalogue() -> None:
    folders = {(path.parent.parent.name, path.parent.name) for path in catalogue.MODULES.glob("*/*/go.mod")}
    assert folders == {(component.name, component.version) for component in COMPONENTS}


def test_the_issues_versions_are_the_defaults() -> None:
    assert DEFAULT_VERSIONS["kubernetes"] == "1.36.3"
    assert set(DEFAULT_VERSIONS) == {component.name for component in COMPONENTS}


@pytest.mark.parametrize(
    ("package", "name"),
    [("go.etcd.io/etcd/server/v3", "server"), ("k8s.io/kubernetes/cmd/kubelet", "kubelet"), ("x.io/vip", "vip")],
)
def test_built_name_leaves_out_a_major_version(package: str, name: str) -> None:
    assert Program("any", package).built_name == name


def test_variables_say_the_version() -> None:
    kubernetes = catalogue.get("kubernetes", "1.36.3")
    assert "-X k8s.io/component-base/version.gitVersion=v1.36.3" in kubernetes.ldflags
    assert kubernetes.variables["k8s.io/component-base/version.gitMinor"] == "36"


def test_programs_linked_by_c_are_static() -> None:
    assert "-extldflags -static" in catalogue.get("runc").ldflags
    assert "-extldflags" not in catalogue.get("etcd").ldflags


def test_image_reference() -> None:
    assert catalogue.image_reference("pause", "1.0.0") == "kubeup.local/pause:1.0.0"


def test_what_is_not_there_is_told_with_what_is() -> None:
    with pytest.raises(ComponentError, match=r"etcd 2\.0 .* there is: 3\.6\.7, 3\.6\.8"):
        catalogue.get("etcd", "2.0")
    with pytest.raises(ComponentError, match=r"'etdc'; there are: .*etcd"):
        catalogue.get("etdc")
