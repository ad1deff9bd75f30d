"""What validation found, for people and for CI."""

from xml.etree import ElementTree

from kubeup.checks.validation import CheckResult
from kubeup.cli.results import as_junit, as_table

RESULTS = [
    CheckResult("logs", True, "of pods on 3 nodes", 1.25),
    CheckResult("quota", False, "a second pod was taken\n\x1b[31m<where> one is & allowed", 12.0),
]


def test_the_table_shows_how_long_each_took() -> None:
    heading, logs, quota, last = as_table(RESULTS).splitlines()
    assert heading.split() == ["CHECK", "RESULT", "SECONDS", "WHAT", "WAS", "SEEN"]
    assert logs.split() == ["logs", "ok", "1.2", *["of", "pods", "on", "3", "nodes"]]
    assert quota.startswith("quota                 FAILED      12.0  a second pod was taken")
    assert last == "2 checks, 1 failed"


def test_junit() -> None:
    suite = ElementTree.fromstring(as_junit("demo", RESULTS))[0]  # noqa: S314 - it is our own
    assert (suite.get("tests"), suite.get("failures"), suite.get("time")) == ("2", "1", "13.250")
    logs, quota = suite
    assert (logs.get("classname"), logs.get("name"), logs.get("time")) == ("kubeup.demo", "logs", "1.250")
    assert logs.findtext("system-out") == "of pods on 3 nodes"
    failure = quota.find("failure")
    assert failure is not None
    assert failure.get("message") == "a second pod was taken [31m<where> one is & allowed"
    assert failure.text == "a second pod was taken\n[31m<where> one is & allowed"
