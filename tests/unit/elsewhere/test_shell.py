"""Shell files are read, never run: what bash makes of the allowed ones is what we make, and all else is refused."""

import subprocess
from pathlib import Path

import pytest

from kubeup.elsewhere.shell import read_file, read_variables
from kubeup.errors import InventoryError

LIKE_BASH = r"""
# a comment with $(touch gone) and `touch gone` in it
export nodes=${nodes:-"vcap@10.10.103.250 vcap@10.10.103.162"}   # another
roles=("ai" 'i' i)
list=$nodes
split=($nodes x"y z"'w' "" a\ b)
export NUM=${NUM:-3} RANGE=${RANGE:-192.168.3.0/24}; after=semicolon
inner="a ${NUM} \"quoted\" \$5 'single' ${UNSET:-'kept'} b"
plain=${UNSET:-'taken'}${UNSET-x}${EMPTY-y}
EMPTY=
empties=${EMPTY:-d}${EMPTY-e}${NUM:+f}${UNSET:+g}
assigned=${LATER:=later}$LATER
many=(
  one   # first
  two \
  three
)
many+=(four)
text=a
text+=b
escaped=a\ b#c
continued=one\
two
declare -a declared=(x y)
export -n EMPTY
default_of_default=${UNSET:-${ALSO:-"deep value"}}
single='$(not run) `nor this`'
dollar=5$
"""


def test_allowed_files_mean_what_bash_means(tmp_path: Path) -> None:
    ours = read_variables(LIKE_BASH, "file")
    words = {name: list(v.words) if v.words is not None else [v.text] for name, v in ours.items()}
    script = "".join(f'printf "%s\\0" {name} "${{{name}[@]}}"; printf "\\1"\n' for name in words)
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{LIKE_BASH}\n{script}"],
        env={},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = {}
    for record in done.stdout.split("\1")[:-1]:
        name, *values = record.split("\0")[:-1]
        theirs[name] = values
    assert words == theirs
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("x=$(touch {0})", "command substitution"),
        ("x=`touch {0}`", "backticks"),
        ('x="a $(touch {0})"', "command substitution"),
        ('x="a `touch {0}`"', "backticks"),
        ("x=${{y:-$(touch {0})}}", "command substitution"),
        ('x=${{y:-"`touch {0}`"}}', "backticks"),
        ("x=(a $(touch {0}))", "command substitution"),
        ("x=$((1 + 1))", "arithmetic"),
        ("x=$[1 + 1]", "arithmetic"),
        ("x=<(touch {0})", "redirection"),
        ("x=1 >{0}", "more than an assignment"),
        ("x=1; touch {0}", "more than an assignment"),
        ("x=1 & touch {0}", "more than an assignment"),
        ("x=a|touch {0}", "pipe"),
        ("x=1 touch {0}", "more than an assignment"),
        ("touch {0}", "more than an assignment"),
        (". {0}", "more than an assignment"),
        ("if true; then", "more than an assignment"),
        ("x=$1", "only a running shell knows"),
        ("x=$'a\\nb'", "quotation"),
        ("x=${{y//a/b}}", "${y"),
        ("x=${{#y}}", "${#y"),
        ("x=${{!y}}", "${!y"),
        ('x="never', "never closed"),
        ("x='never", "never closed"),
        ("x=(never", "never closed"),
        ("x=${{y:-never", "never closed"),
        ("x=(a{{1,2}})", "would expand"),
        ("x=(*)", "would expand"),
        ("\f", "more than an assignment"),
        ("nämen=1", "more than an assignment"),
    ],
)
def test_whatever_a_shell_would_run_is_refused_with_its_line(tmp_path: Path, text: str, what: str) -> None:
    target = tmp_path / "gone"
    file = tmp_path / "config.sh"
    file.write_text("# one\nok=1\n" + text.format(target) + "\n")
    with pytest.raises(InventoryError) as raised:
        read_file(file)
    assert f"{file}:3: " in str(raised.value)
    assert what in str(raised.value)
    assert not target.exists()


def test_all_refused_lines_are_told_at_once() -> None:
    with pytest.raises(InventoryError) as raised:
        read_variables("a=$(x)\nb=1\nc=`x`\nd=2\nrm -rf /\n", "f")
    assert [problem.where for problem in raised.value.problems] == ["f:1", "f:3", "f:5"]


def test_the_environment_is_not_looked_at_but_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUM", "9")
    assert read_variables("x=${NUM:-3}", "f")["x"].text == "3"
    assert read_variables("x=${NUM:-3}", "f", {"NUM": "5"})["x"].text == "5"
