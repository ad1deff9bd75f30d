"""Configuration and unit files as Jinja templates, a folder a role."""

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def _environment() -> Environment:
    # No autoescaping: these are configuration files for root-owned services, not HTML.
    return Environment(  # noqa: S701
        loader=PackageLoader("kubeup.templates", "."),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(name: str, **values: Any) -> str:
    """The text of the template ``name`` ("kubelet/kubelet.service.j2") with these values.

    Raises jinja2.UndefinedError when the template uses one that is not given.
    """
    return _environment().get_template(name).render(**values)


def text(name: str) -> str:
    """The text of a file that is no template, such as a script."""
    return files("kubeup.templates").joinpath(name).read_text()
