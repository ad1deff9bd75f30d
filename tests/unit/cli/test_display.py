"""What is shown while kubeup works, where there is no terminal."""

import io

from rich.console import Console

from kubeup.cli.display import Display


def test_plain_lines_and_a_summary() -> None:
    shown = io.StringIO()
    with Display(Console(file=shown, width=200)) as display:
        display.phase_started("etcd")
        display.host_started("etcd", "n1")
        display.host_started("etcd", "n2")
        display.host_done("etcd", "n2", 1.25, 3, failed=False)
        display.host_done("etcd", "n1", 2.5, 4, failed=True)
        display.phase_done("etcd", 2.5)
        display.phase_started("Tidy")
        display.phase_done("Tidy", 0.001)
        display.checked("cluster-ip", ok=False, detail="silence")
    assert display.changed == 3
    assert display.phases == {"etcd": 2.5}
    display.summary()
    lines = [" ".join(line.split()[2:]) for line in shown.getvalue().splitlines()]
    assert lines[:3] == ["etcd n2 1.2 s 3 changed", "etcd n1 failed", "Validation cluster-ip FAILED silence"]
    assert "etcd 2.5 s;" in shown.getvalue().splitlines()[-1]
