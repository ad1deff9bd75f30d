"""What the inventory's models are made of: values that know all their keys, and texts of a certain form."""

import re
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

_DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_DNS_NAME = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")


def refuse(what: str, remedy: str = "") -> NoReturn:
    """Refuse a value from within a pydantic validator.

    Raises:
        PydanticCustomError: of type "kubeup", whose context carries ``what`` and ``remedy`` as they are shown.
    """
    raise PydanticCustomError("kubeup", "{what}", {"what": what, "remedy": remedy})


def is_dns_name(text: str) -> bool:
    """Whether ``text`` is a DNS-1123 subdomain, which is what Kubernetes allows as a node's name."""
    return len(text) <= 253 and _DNS_NAME.fullmatch(text) is not None


def _dns_label(text: str) -> str:
    if not re.fullmatch(_DNS_LABEL, text):
        refuse(f"{text!r} cannot be a name", "use up to 63 lower-case letters, digits and '-', e.g. kubeup")
    return text


def local_path(path: Path, info: ValidationInfo) -> Path:
    """``~`` expanded, and relative to the inventory's folder (the validation context's "folder") when there is one."""
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / path.expanduser()


DnsLabel = Annotated[str, AfterValidator(_dns_label)]
LocalPath = Annotated[Path, AfterValidator(local_path)]


class Value(BaseModel):
    """A frozen model that knows all its keys. A key with nothing behind it counts as not given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, data: Any) -> Any:
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, dict) else data
