"""Writes versions into an inventory, and leaves the rest of it as it is."""

from pathlib import Path

from ruamel.yaml import YAML

from kubeup.cluster.inventory import load
from kubeup.cluster.model import Versions


def write_versions(path: str | Path, versions: Versions) -> None:
    """Make the inventory ask for these versions: those that it does not ask for yet get a line, the others stay.

    Raises InventoryError when it is no inventory, OSError when it cannot be written.
    """
    path = Path(path)
    asked = load(path).versions
    changed = {key: version for key, version in versions if getattr(asked, key) != version}
    if not changed:
        return
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    data = yaml.load(path.read_text(encoding="utf-8"))
    if data.get("versions") is None:
        data.insert(1 if data else 0, "versions", {})
    data["versions"].update(changed)
    draft = path.with_name(f".{path.name}.new")
    with draft.open("w", encoding="utf-8") as file:
        yaml.dump(data, file)
    draft.chmod(path.stat().st_mode)
    draft.replace(path)
