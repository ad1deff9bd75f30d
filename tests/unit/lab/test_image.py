from dataclasses import replace

import pytest

from kubeup.lab.image import Recipe, mirror_of

RECIPE = Recipe(mirror="", proxy="", certificates="")


@pytest.mark.parametrize(
    ("targets", "mirror"),
    [
        (["http://mirror.example/debian/ bookworm", "http://mirror.example/debian/ bookworm-updates"], "here"),
        (["http://other.example/security/ bookworm-security", "http://mirror.example/debian/ bookworm"], "here"),
        (["http://mirror.example/ubuntu/ noble"], ""),
        (["cdrom:[disc]/ bookworm"], ""),
        ([], ""),
    ],
)
def test_the_mirror_is_the_one_that_apt_takes_the_suite_from(targets: list[str], mirror: str) -> None:
    assert mirror_of(targets, "bookworm") == ("http://mirror.example/debian/" if mirror else "")


def test_another_recipe_is_another_image() -> None:
    assert RECIPE.tag == Recipe(mirror="", proxy="", certificates="").tag
    others = [replace(RECIPE, proxy="http://proxy.example:3128"), replace(RECIPE, packages="systemd")]
    assert len({RECIPE.tag, *(other.tag for other in others)}) == 3


def test_no_host_key_is_part_of_the_image() -> None:
    assert "rm -f /etc/ssh/ssh_host_*" in RECIPE.setup
