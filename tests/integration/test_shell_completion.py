"""Completions, asked of the shells themselves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from trio_afrender.cli.shell_completion import make_completion

LINES = [
    ("r", {"run", "renders", "restart"}, {"agent", "check"}),
    ("run --re", {"--report", "--retries"}, {"--keep"}),
    ("run jo", {"job.json"}, {"text.txt"}),
    ("run job.json --ke", {"--keep"}, {"--report"}),
    ("run --store ", {"folder"}, {"job.json"}),
    ("--tok", {"--token-file"}, {"--report"}),
    ("check p", {"parser"}, {"meter"}),
    ("check parser maya tex", {"text.txt"}, {"job.json"}),
    ("check parser --fr", {"--frames"}, {"--watch"}),
    ("log re", {"render"}, {"job"}),
    ("unit g", {"gateway"}, {"agent"}),
    ("unit --us", {"--user"}, {"--server"}),
    ("completion z", {"zsh"}, {"bash"}),
    ("config af_render_n", {"af_render_nice", "af_render_networkif"}, {"af_servername"}),
]
BASH = """\
source "$1"; shift
for line in "$@"; do
    read -ra COMP_WORDS <<< "trio_afrender $line"
    [[ $line == *' ' ]] && COMP_WORDS+=("")
    COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
    _trio_afrender
    printf '%s\\n' "${COMPREPLY[@]}" END
done
"""
ZSH = """\
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PROMPT=; stty columns 200; fpath=(${1:h} \\$fpath); autoload -Uz compinit; compinit -u -D"
zpty -w z "ask() { zle list-choices; zle -R; zle -I; BUFFER=; print DON''E }; zle -N ask; bindkey '^I' ask"
zpty -w z "LISTMAX=1000; print READ''Y"
zpty -r z out '*READY*'
shift
for line in "$@"; do
    zpty -n -w z "trio_afrender $line"$'\\t'
    zpty -r z out '*DONE*'
    print -r -- "$out"
    print END
done
zpty -d z
"""
"""The next line is typed when the list is there: zsh does not list while input waits."""
FISH = """\
source $argv[1]
for line in $argv[2..]
    complete -C "trio_afrender $line"
    echo END
end
"""
START = {
    "bash": ["bash", "--norc", "-c", BASH, "bash"],
    "zsh": ["zsh", "-f", "-c", ZSH, "zsh"],
    "fish": ["fish", "--no-config", "-c", FISH],
}


@pytest.fixture(scope="module", params=["bash", "zsh", "fish"])
def offers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, set[str]]:
    """The words that a shell offers at the end of each line."""
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    home = tmp_path_factory.mktemp(shell)
    folder = home / "work"
    (folder / "folder").mkdir(parents=True)
    (folder / "job.json").touch()
    (folder / "text.txt").touch()
    script = home / "_trio_afrender"
    script.write_text(make_completion(shell))
    lines = [line for line, _, _ in LINES]
    done = subprocess.run(
        [*START[shell], str(script), *lines], cwd=folder, capture_output=True, text=True,
        check=True, timeout=60, env={**os.environ, "HOME": str(home), "TERM": "dumb"},
    )  # fmt: skip
    assert not done.stderr
    parts = done.stdout.split("END\n")
    assert len(parts) == len(lines) + 1
    # fish puts the help behind a tab, zsh shows it too, and an "=" after options with a value.
    shown = (re.sub(r"\t.*", "", part).split() for part in parts)
    return {
        line: {word.rstrip("/=") for word in words}
        for line, words in zip(lines, shown, strict=False)
    }


@pytest.mark.parametrize(("line", "offered", "others"), LINES, ids=[line for line, _, _ in LINES])
def test_offers(
    line: str, offered: set[str], others: set[str], offers: Mapping[str, set[str]]
) -> None:
    assert offered <= offers[line]
    assert not others & offers[line]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_can_be_sourced(shell: str, tmp_path: Path) -> None:
    """As ``source <(trio_afrender completion bash)`` in a start file."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    script = tmp_path / "completion"
    script.write_text(make_completion(shell))
    before = "autoload -Uz compinit; compinit -u -D;" if shell == "zsh" else ""
    shown = "print $_comps[trio_afrender]" if shell == "zsh" else "complete -p trio_afrender"
    done = subprocess.run(
        [shell, *(["-f"] if shell == "zsh" else ["--norc"]), "-c", f"{before} source {script}; {shown}"],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30,
        env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert "_trio_afrender" in done.stdout
    assert not done.stderr
