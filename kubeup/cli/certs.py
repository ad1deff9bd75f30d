"""kubeup certs: how long certificates last, renewing them, replacing the authorities that issue them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from kubeup.cli.context import DIFFERENT, AcceptNew, Inventory, Json, connected
from kubeup.cli.display import Display, plain_stdout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeup.deploy.certificates import Held

app = typer.Typer(help="How long certificates last, renewing them, replacing authorities.", no_args_is_help=True)


class Which(StrEnum):
    """What can be replaced by rotate-ca."""

    KUBERNETES = "kubernetes"
    ETCD = "etcd"
    FRONT_PROXY = "front-proxy"
    SERVICE_ACCOUNTS = "service-accounts"
    ALL = "all"


@app.command()
def show(inventory: Inventory = None, accept_new_host_keys: AcceptNew = False, as_json: Json = False) -> None:
    """Show every certificate: what for, where, until when. Exits 3 when one ends within 30 days, or has.

    (Of one that lives for less than 90 days, when less than a third of its life is left.)
    """
    from kubeup.deploy.certificates import held

    now = datetime.now(UTC)
    with connected(inventory, accept_new_host_keys) as run:
        found = held(run)
    plain_stdout(json.dumps(as_data(found, now), indent=2) if as_json else as_text(found, now))
    if any(certificate.ends_soon(now) for certificate in found):
        raise typer.Exit(DIFFERENT)


@app.command()
def renew(
    name: Annotated[
        list[str] | None, typer.Argument(help="NAME as in `certs show`, e.g. apiserver (default: what ends soon).")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All, however long they last.")] = False,
    inventory: Inventory = None,
    accept_new_host_keys: AcceptNew = False,
) -> None:
    """Renew what ends within 30 days, also when all has expired. What reads certificates again is not restarted."""
    from kubeup.deploy import renew as job
    from kubeup.deploy.phases import execute

    with Display() as display, connected(inventory, accept_new_host_keys, display, alone=True) as run:
        if name:
            unknown = sorted(set(name) - set(job.names(run)))
            if unknown:
                raise typer.BadParameter(f"there is no {', '.join(unknown)}; there are: {', '.join(job.names(run))}")
            run.renewal = job.these(name)
        elif everything:
            run.renewal = job.every_one
        execute(job.PHASES, run)
        nothing = "" if display.changed else " Nothing had to be renewed."
        display.say(f"The certificates of {run.cluster.name} last.{nothing} (changed={display.changed})")
        display.summary()


@app.command("rotate-ca")
def rotate_ca(
    which: Annotated[list[Which] | None, typer.Argument(help="What to replace (default: all).")] = None,
    finish: Annotated[
        bool,
        typer.Option("--finish", help="Forget what was replaced, too: kubeconfigs from before are worthless then."),
    ] = False,
    restart_pods: Annotated[
        bool, typer.Option("--restart-pods", help="Restart workloads that know only the old authority.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Go on though pods know only the old authority, or use tokens of the old key."),
    ] = False,
    inventory: Inventory = None,
    accept_new_host_keys: AcceptNew = False,
) -> None:
    """Replace authorities and the key of service accounts while the cluster serves. Run it again to go on."""
    from kubeup.cluster.trust import ALL
    from kubeup.deploy.rotate import Options, rotate

    wanted = [w.value for w in which or [Which.ALL]]
    names = [name for name in ALL if name.removesuffix("-ca") in wanted or Which.ALL in wanted]
    with Display() as display, connected(inventory, accept_new_host_keys, display, alone=True) as run:
        left = rotate(run, names, Options(finish, restart_pods, force))
        display.say(left)
        display.summary()


def as_data(found: Sequence[Held], now: datetime) -> list[dict[str, object]]:
    """For machines. Times are in UTC."""
    return [
        {
            "host": certificate.host,
            "name": certificate.name,
            "path": certificate.path,
            "purpose": certificate.purpose,
            "issuer": certificate.issuer,
            "authority": certificate.authority,
            "not_after": f"{certificate.end:%Y-%m-%dT%H:%M:%SZ}",
            "days_left": certificate.days_left(now),
            "ends_soon": certificate.ends_soon(now),
        }
        for certificate in found
    ]


def as_text(found: Sequence[Held], now: datetime) -> str:
    """For people."""
    rows = [("HOST", "NAME", "FOR", "ISSUER", "UNTIL", "DAYS LEFT")]
    for certificate in found:
        days = certificate.days_left(now)
        left = "expired" if certificate.end <= now else f"{days}{' !' if certificate.ends_soon(now) else ''}"
        rows.append(
            (
                certificate.host,
                certificate.name,
                certificate.purpose,
                certificate.issuer,
                f"{certificate.end:%Y-%m-%d %H:%M}" if days < 2 else f"{certificate.end:%Y-%m-%d}",
                left,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
