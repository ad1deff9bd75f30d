"""The commands. Exit codes: 0 done, 1 failed, 2 usage or bad inventory, 3 differences found (plan)."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kubeup import __version__
from kubeup.cli import addon, backup, bundle, certs, components, elsewhere, etcd, lab, nodes, preflight, trace, upgrade
from kubeup.cli.context import (
    DIFFERENT,
    AcceptNew,
    Deep,
    Inventory,
    Json,
    connected,
    given_before_command,
    inventory_path,
    paused,
    to_write,
)
from kubeup.cli.display import Display, plain_stdout
from kubeup.cli.results import as_junit, as_table
from kubeup.errors import KubeupError

app = typer.Typer(
    help="Bring a Kubernetes cluster up on plain Linux hosts over SSH, keep it, and take it away again.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,  # a traceback with the values of variables could show a key
    add_completion=False,
)
app.add_typer(addon.app, name="addon")
app.add_typer(bundle.app, name="bundle")
app.add_typer(certs.app, name="certs")
app.add_typer(components.app, name="components")
app.add_typer(etcd.app, name="etcd")
app.add_typer(lab.app, name="lab")
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(backup.drill)
app.command("import")(elsewhere.import_)
app.command()(elsewhere.explain)
app.command()(preflight.preflight)
app.add_typer(nodes.app)

app.command()(upgrade.upgrade)
app.command()(upgrade.rollback)
app.command()(trace.trace)

INTERRUPTED = 130


@app.callback()
def _common(
    context: typer.Context,
    inventory: Inventory = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    given_before_command(inventory, context.invoked_subcommand or "")
    if version:
        plain_stdout(__version__)
    elif context.invoked_subcommand is None:
        plain_stdout(context.get_help())


@app.command()
def init(
    node: Annotated[
        list[str], typer.Option("--node", help="ROLE=[USER@]HOST[:PORT]; ROLE is a (master), i (minion) or ai (both).")
    ],
    name: Annotated[str, typer.Option(help="The cluster's name.")] = "kubeup",
    inventory: Inventory = None,
) -> None:
    """Write an inventory."""
    from kubeup.cluster import write_inventory

    path = inventory_path(inventory)
    write_inventory(path, name, node)
    plain_stdout(f"{path} is written. Have a look at it, then: kubeup plan, kubeup up")


@app.command()
def plan(
    inventory: Inventory = None, accept_new_host_keys: AcceptNew = False, as_json: Json = False, deep: Deep = False
) -> None:
    """Show what `up` would change, by host and file. Touches nothing. Exits 3 when there is a difference."""
    from kubeup.checks.kubectl import Kubectl
    from kubeup.checks.outside import preflight_outside
    from kubeup.checks.preflight import preflight
    from kubeup.cli.plan import as_data, as_text, current_texts
    from kubeup.deploy.path import measure
    from kubeup.deploy.phases import other_versions

    with connected(inventory, accept_new_host_keys, deep=deep) as run:
        measure(run)
        preflight(run.cluster, run.readings, run.changes, run.vault)
        preflight_outside(run.cluster, run.readings, run.changes, run.session)
        if as_json:
            plain_stdout(json.dumps(as_data(run.changes), indent=2))
        else:
            plain_stdout(as_text(run.changes, current_texts(run)))
            for name in Kubectl(run.cluster, run.session).strangers():
                plain_stdout(f"{name} is a node of the cluster and not in the inventory: kubeup remove-node {name}")
            if other_versions(run):
                plain_stdout("Other versions than those that run are brought by `kubeup upgrade`; `up` refuses them.")
        if any(run.changes.values()):
            raise typer.Exit(DIFFERENT)


@app.command()
def up(
    inventory: Inventory = None,
    accept_new_host_keys: AcceptNew = False,
    as_json: Json = False,
    deep: Deep = False,
    bundle: Annotated[Path | None, typer.Option(help="Take all from this bundle: see kubeup bundle.")] = None,
    bundle_key: Annotated[
        Path | None, typer.Option(envvar="KUBEUP_BUNDLE_KEY", help="The public key of who made the bundle.")
    ] = None,
) -> None:
    """Bring the cluster to what its inventory says, and prove that it works. Run it again to go on after a failure."""
    from kubeup.cluster import load
    from kubeup.components import Store
    from kubeup.deploy import bundled
    from kubeup.deploy.phases import execute
    from kubeup.deploy.up import PHASES

    if bundle:
        load(inventory_path(inventory))  # what is wrong with it is told before a large file is read
    phases = bundled.phases(bundled.taken(bundle, bundle_key, Store()), PHASES) if bundle else PHASES
    with Display() as display, connected(inventory, accept_new_host_keys, display, deep=deep, alone=True) as run:
        execute(phases, run)
        if as_json:
            plain_stdout(
                json.dumps(
                    {
                        "cluster": run.cluster.name,
                        "changed": display.changed,
                        "seconds": display.phases,
                        "checks": [asdict(result) for result in run.results],
                    },
                    indent=2,
                )
            )
        nothing = "" if display.changed or run.results else " Nothing had to be changed."
        display.say(f"The cluster {run.cluster.name} is up.{nothing} (changed={display.changed})")
        display.summary()


@app.command()
def validate(
    inventory: Inventory = None,
    accept_new_host_keys: AcceptNew = False,
    as_json: Json = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Look at all that the control plane promises too; less than 90 s.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="This check alone; may be given several times.")
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option("--junit", metavar="FILE", callback=to_write, help="Write the results as JUnit XML, for CI."),
    ] = None,
) -> None:
    """Prove that the cluster works, with real pods and packets; they are taken away again."""
    from kubeup.deploy.proof import names, prove

    if unknown := sorted(set(only or ()) - set(names())):
        raise typer.BadParameter(f"there is no {', '.join(unknown)}; there are: {', '.join(names())}")
    with Display() as display, connected(inventory, accept_new_host_keys) as run:
        results = prove(
            run,
            deep=deep,
            only=only or (),
            show=display.say if as_json else plain_stdout,
            seen=lambda r: display.checked(r.name, r.ok, r.detail),
        )
        if junit:
            junit.write_text(as_junit(run.cluster.name, results))
        if as_json:
            plain_stdout(json.dumps([asdict(result) for result in results], indent=2))
        elif deep or only:
            plain_stdout(as_table(results))
        if not all(result.ok for result in results):
            raise typer.Exit(1)


@app.command()
def status(inventory: Inventory = None, accept_new_host_keys: AcceptNew = False, as_json: Json = False) -> None:
    """Show nodes, components with their versions, addresses, and how long certificates last."""
    from kubeup.cli.status import as_text, gather

    with connected(inventory, accept_new_host_keys, living=True) as run:
        facts = gather(run)
        plain_stdout(json.dumps(facts, indent=2) if as_json else as_text(facts))


@app.command()
def kubeconfig(
    inventory: Inventory = None,
    accept_new_host_keys: AcceptNew = False,
    print_it: Annotated[
        bool, typer.Option("--print", help="Print it instead of merging it into ~/.kube/config.")
    ] = False,
) -> None:
    """Merge the cluster's admin access into ~/.kube/config (or $KUBECONFIG), or print it."""
    from kubeup.cli.kubeconfig import merge
    from kubeup.deploy.access import fetch

    with connected(inventory, accept_new_host_keys, living=True) as run:
        config = fetch(run)
        if print_it:
            plain_stdout(config)
        else:
            path = merge(config)
            plain_stdout(f"{path} has the context {run.cluster.name}, and it is the current one.")


@app.command()
def destroy(
    inventory: Inventory = None,
    accept_new_host_keys: AcceptNew = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Take the cluster away, with all its data, and leave the hosts as they were."""
    from kubeup.deploy.destroy import PHASES
    from kubeup.deploy.phases import execute

    with Display() as display, connected(inventory, accept_new_host_keys, display, alone=True) as run:
        if not yes:
            with paused(display):
                names = ", ".join(node.name for node in run.cluster.hosts)
                typer.confirm(f"Destroy the cluster {run.cluster.name} on {names}, with all its data?", abort=True)
        execute(PHASES, run)
        display.say(f"The cluster {run.cluster.name} is gone. (changed={display.changed})")
        display.summary()


def main() -> None:
    """Run the command; exits."""
    try:
        app()
    except KubeupError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # which typer makes of KeyboardInterrupt
            sys.stderr.write(
                "Interrupted. What was begun on hosts may still end there; run the same command again to go on.\n"
            )
        raise
