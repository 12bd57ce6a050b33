"""The commands of README and its pages do what they say: each is run, on the `tiny` sweep where it says `quick`."""

import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from monosweep.model.families import OURS
from monosweep.sweep.__main__ import VERBS
from monosweep.sweep.store.schema import ASKED, TABLES, markdown, tables_of

ROOT = Path(__file__).parent.parent
PAGES = {path: path.read_text() for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))}
README = PAGES[ROOT / "README.md"]
TEXT = "\n".join(PAGES.values())


def blocks(language):
    """Of all pages; one that two of them show is there once."""
    return list(dict.fromkeys(re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)))


def commands():
    """Every `monosweep …` of the sh blocks; a command may span lines inside its quotes."""
    found = []
    for block in blocks("sh"):
        words = shlex.split(re.sub(r"^\s*\S*monosweep", "\0", block, flags=re.MULTILINE), comments=True)
        starts = [i for i, word in enumerate(words) if word == "\0"]
        found += [tuple(words[a + 1 : b]) for a, b in pairwise([*starts, len(words)])]
    return list(dict.fromkeys(found))


def run(argv, folder, stdin=""):
    return subprocess.run(
        [sys.executable, "-m", "monosweep.sweep", *argv], cwd=folder, input=stdin, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where `monosweep launch tiny --out results` has run."""
    folder = tmp_path_factory.mktemp("readme")
    done = run(["launch", "tiny", "--out", "results", "--executor", "inline", "--set", "save_weights=final"], folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_readme_shows_every_verb():
    shown = {argv[0] for argv in commands()}
    assert {"presets", "launch", "status", "query", "trial", "replay", "claims", "figures", "new", "measure"} <= shown


ELSEWHERE = re.compile(
    "^(launch|replay|bench)|--pdb|--break-at|mine|my_toy|tms/|incidental/|resid_mlp/|capacity/|contraction/|tree/"
)
PLAIN = [argv for argv in commands() if not ELSEWHERE.search(" ".join(argv))]


@pytest.mark.parametrize("argv", PLAIN)
def test_command(argv, folder):
    done = run([re.sub("^quick$", "tiny", word) for word in argv], folder)
    assert done.returncode == 0, done.stderr
    # The tiny sweep is no batch of the paper; `figures … paper` then says which presets would carry each figure.
    assert done.stdout.strip() or "launch small/LR3" in done.stderr


def test_launching_as_shown_trains_and_then_extends(tmp_path):
    launches = [
        [re.sub("^quick$", "tiny", w) for w in argv]
        for argv in commands()
        if argv[:2] == ("launch", "quick") and "mine" not in str(argv)
    ]
    assert [run([*argv, "--executor", "inline"], tmp_path).returncode for argv in launches] == [0, 0]
    counted = run(["query", "results", "select count(*) as n from trials", "--format", "json"], tmp_path)
    assert json.loads(counted.stdout) == [{"n": 8}]


def test_a_batch_of_the_paper_can_be_launched_as_shown(tmp_path):
    (argv,) = (argv for argv in commands() if argv[:2] == ("launch", "small/LR3"))
    done = run([*argv, "--dry-run"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "24 trials" in done.stdout


SHORT = ["--set", "n_steps=32", "--set", "repeats=1", "--executor", "inline"]


def queried(word, folder, trials):
    """What is answered where the preset that is shown with `word` has been launched, for few steps."""
    launch, query = (argv for argv in commands() if word in str(argv))
    done = run([*launch, *SHORT], folder)
    assert done.returncode == 0 and f"{trials} trials trained" in done.stdout, done.stderr
    return json.loads(run([*query, "--format", "json"], folder).stdout)


def test_a_model_of_superposition_is_trained_and_queried_as_shown(tmp_path):
    found = queried("tms", tmp_path, 10)
    assert [row["feature_prob"] for row in found][:2] == [1, 0.7169] and len(found) == 10


def test_a_model_of_known_capacity_is_trained_and_queried_as_shown(tmp_path):
    found = queried("capacity", tmp_path, 164)
    assert [row["kurtosis"] for row in found] == pytest.approx([4.5, 9, 18, 36])
    assert all(0 < row["furthest"] <= 1 and row["excess"] > 0 for row in found)


def test_a_model_of_incidental_polysemanticity_is_trained_and_queried_as_shown(tmp_path):
    found = queried("incidental", tmp_path, 5)
    assert [(row["n_neurons"], row["expected"]) for row in found] == [(64 << i, 16 / 2**i) for i in range(5)]


def test_a_residual_mlp_is_trained_and_queried_as_shown(tmp_path):
    found = queried("resid_mlp", tmp_path, 6)
    assert [row["mixing"] for row in found] == [0, 0.2, 0.4, 0.6, 0.8, 1] and set(found[0]) > {"advantage", "computed"}


def an_id(folder):
    rows = run(["query", "results", "select trial_id from trials", "--format", "json"], folder)
    return json.loads(rows.stdout)[0]["trial_id"]


def test_replay_as_shown(folder):
    (argv,) = (argv for argv in commands() if argv[0] == "replay")
    assert re.fullmatch("[0-9a-f]{16}", argv[-1])
    done = run([*argv[:-1], an_id(folder)], folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("bit-equal on this machine")


def test_debugging_as_shown_stops_where_the_loss_breaks(folder):
    (argv,) = (argv for argv in commands() if "--pdb" in argv)
    done = run(argv, folder, stdin="p 6 * 7\nq\n")
    assert "(Pdb)" in done.stdout and "42" in done.stdout


def test_debugging_a_trial_of_a_root_as_shown(folder):
    (argv,) = (argv for argv in commands() if "--break-at" in argv)
    done = run([an_id(folder)[:8] if word == "ec4271d1" else word for word in argv], folder, stdin="p self.step\nq\n")
    assert "(Pdb) 2\n" in done.stdout and done.stderr.endswith("left in the debugger at step 3\n")


def test_the_spec_is_one(folder):
    spec, _ = blocks("yaml")
    (folder / "my.yaml").write_text(spec)
    done = run(["launch", "my.yaml", "--dry-run"], folder)
    assert done.returncode == 0, done.stderr
    assert "64 trials" in done.stdout


def test_the_spec_that_searches_is_one(folder):
    _, spec = blocks("yaml")
    (folder / "search.yaml").write_text(spec)
    done = run(["launch", "search.yaml", "--dry-run", "--executor", "inline", "--out", "new"], folder)
    assert done.returncode == 0, done.stderr
    assert "512 trials" in done.stdout


def test_the_family_is_one(folder):
    code, *_ = blocks("py")
    (spec,) = (block for block in blocks("text") if block.startswith("base:"))
    (folder / "toy.py").write_text(code)
    (folder / "toy.yaml").write_text(spec)
    short = ["--set", "n_steps=16", "--executor", "inline", "--out", "toys"]
    done = run(["launch", "toy.yaml", *short], folder)
    assert done.returncode == 0 and "3 trials trained" in done.stdout, done.stderr


def test_the_procedure_is_one(tmp_path):
    *_, code = blocks("py")
    (tmp_path / "guess.py").write_text(code)
    (tmp_path / "guess.yaml").write_text(
        "base: {family: 'guess.py:Guess', n_steps: 64}\nspace: {width: {grid: [1, 2]}}\n"
    )
    done = run(["launch", "guess.yaml", "--executor", "inline", "--out", "guesses"], tmp_path)
    assert done.returncode == 0 and "2 trials trained in" in done.stdout and "2 of 2 completed" in done.stdout, done


def test_a_toy_model_of_ones_own_as_shown(tmp_path):
    """Begun, launched, queried; then metrics and activations of a file, in training and afterwards."""
    _, additions, _ = blocks("py")
    (tmp_path / "mine.py").write_text(additions)
    mine = [argv for argv in commands() if re.search("mine|my_toy", str(argv))]
    assert [argv[0] for argv in mine] == ["new", "launch", "query", "launch", "measure", "query"]
    told = []
    for argv in mine:
        short = ["--set", "n_steps=16", "repeats=1", "save_weights=final", "--executor", "inline"]
        words = ["tiny" if word == "quick" else word for word in argv]
        done = run([*words, *(short if argv[0] == "launch" else [])], tmp_path)
        assert done.returncode == 0, done.stderr
        told.append(done.stdout)
    assert "3 trials trained" in told[1] and "4 trials trained" in told[3] and "4 trials measured" in told[4]
    assert len(told[2].splitlines()) == 5 and len(told[5].splitlines()) == 6


def test_training_in_a_notebook_as_shown(tmp_path):
    (code,) = (block for block in blocks("python") if "import train" in block)
    code += "\nassert run.status == 'completed' and runs.table['lr'] == [0.003, 0.03] and runs.table['n_mono']\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.endswith(" \n"), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tms-setup.safetensors", "tms.safetensors"]


def test_the_python_example(folder):
    (code,) = (block for block in blocks("python") if "open_root" in block)
    code += "\nassert len(root.trials) == 4 and few.num_rows == 2 == len(low.df()) and best.response().shape[0] == 32\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("table", [*TABLES, "features", "blocks", "progress", "tree", ASKED])
def test_the_columns_are_documented_as_they_are(table):
    shown = re.search(rf"<!-- columns of {table} -->\n(.*?)\n<!-- end -->", TEXT, flags=re.DOTALL)
    assert shown and shown[1] == markdown(table)


NO_COLUMN = "| column | type | meaning |\n|---|---|---|"
"""Of a table that means the same in both."""
OF_OTHERS = [
    (family, table)
    for i, (family, described) in enumerate(OURS.items())
    for table in tables_of(described)
    if any(table in tables_of(earlier) for earlier in list(OURS.values())[:i])
    and markdown(table, described) != NO_COLUMN
]


@pytest.mark.parametrize(("family", "table"), OF_OTHERS)
def test_columns_of_other_families_are_documented_as_they_are(family, table):
    shown = re.search(rf"<!-- columns of {table}, {family} -->\n(.*?)\n<!-- end -->", TEXT, flags=re.DOTALL)
    assert shown and shown[1] == markdown(table, OURS[family])


def test_every_link_leads_somewhere():
    """Files are there, sections too; figures hold something."""
    n_figures = 0
    for page, text in PAGES.items():
        for figure, link in re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", text):
            if link.startswith("https://"):
                continue
            name, _, section = link.partition("#")
            there = (page.parent / name).resolve() if name else page
            assert there.is_file(), f"{page.name}: {link}"
            assert not section or section in sections(there), f"{page.name}: {link}"
            n_figures += bool(figure) and there.stat().st_size > 10_000
    assert n_figures >= 3


def sections(page):
    """What its headings are called in links."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE), re.M
    )
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_verb_is_in_its_table():
    rows = [f"| `monosweep {name}` | {verb.help} |" for name, verb in VERBS.items()]
    assert "\n".join(["| command | |", "|---|---|", *rows]) in README
