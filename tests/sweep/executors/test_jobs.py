"""The service before a cluster answers: what travels there, what must not, and one line for every mistake."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from monosweep.model.config import ConfigError
from monosweep.sweep.__main__ import main
from monosweep.sweep.cli.arguments import LaunchArgs, ResumeArgs, SubmitArgs
from monosweep.sweep.cli.cluster_verbs import driver_options
from monosweep.sweep.drive import LaunchOptions, launch
from monosweep.sweep.executors.jobs import Cluster, ClusterError, check_root
from monosweep.sweep.executors.shipping import SPEC, bundled, runtime_env
from monosweep.sweep.parse import parse
from monosweep.sweep.spec.sweep_spec import SweepSpec, load_spec
from monosweep.sweep.store.files import Storage, StoreError
from monosweep.sweep.store.root import Store
from monosweep.sweep.text import without_secrets

_URI = "s3://AKIAKEY:se%2Fcret@bucket/results"
_SECRETS = ("AKIAKEY", "se%2Fcret", "se/cret")


def test_a_bundle_holds_the_sources_the_version_and_the_spec_alone() -> None:
    with bundled("{}", {"toy.py": "# a family"}) as folder:
        assert {path.name.split("-")[0] for path in folder.iterdir()} == {"monosweep", SPEC, "toy.py"}
        assert {path.name for path in (folder / "monosweep").iterdir()} == {"model", "sweep", "analysis"}
        assert (folder / "monosweep/sweep/presets/paper/LR1.yaml").is_file()
        assert not list(folder.rglob("*.pyc"))
        code = (
            "import monosweep.sweep.drive, monosweep.model as model, importlib.metadata as m; "
            "print(model.__file__, m.version('monosweep'))"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
        assert done.stdout.split()[0] == str(folder / "monosweep/model/__init__.py")
        assert done.stdout.split()[1][0].isdigit()
    assert not folder.exists()


def test_a_spec_is_the_same_after_the_journey(tmp_path: Path) -> None:
    """The driver reads as YAML what was written as JSON, small numbers included."""
    spec = load_spec("quick", ["lr=[1e-7, 0.02]", "repeats=3"])
    (tmp_path / SPEC).write_text(spec.to_json())
    assert load_spec(str(tmp_path / SPEC)) == spec
    assert SweepSpec.from_json(spec.to_json()) == spec


def test_no_credential_is_in_what_ray_shows_of_a_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "never-to-be-shown")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:never-to-be-shown@127.0.0.1:9000")
    shown = runtime_env(tmp_path, MONOSWEEP_JOB="a-job")
    assert "never-to-be-shown" not in str(shown)
    assert (shown["env_vars"]["AWS_REGION"], shown["env_vars"]["MONOSWEEP_JOB"]) == ("eu-central-1", "a-job")


@pytest.mark.parametrize("root", ["results", "./results", "~/results"])
def test_a_root_must_mean_the_same_on_every_node(root: str) -> None:
    with pytest.raises(ConfigError, match=f"must mean the same on every node: .*; got '{root}'"):
        check_root(root)


def test_a_password_stays_out_of_a_job() -> None:
    with pytest.raises(ConfigError, match=r"must name no password on a cluster.*s3://\*\*\*@bucket/results") as caught:
        check_root(_URI)
    assert not any(secret in str(caught.value) for secret in _SECRETS)


@pytest.mark.parametrize("root", ["s3://bucket/results", "/mnt/shared/results", "gs://bucket/a@b"])
def test_roots_of_clusters(root: str) -> None:
    check_root(root)


@pytest.mark.parametrize(
    "text",
    [
        _URI,
        f"cannot write {_URI}: denied",
        f"'{_URI}'",
        "s3://AKIAKEY:se/cret@bucket",
        "s3://:se%2Fcret@bucket",
        "s3://AKIAKEY:@b",
    ],
)
def test_passwords_are_taken_out_of_text(text: str) -> None:
    assert not any(secret in without_secrets(text) for secret in _SECRETS)
    assert "://***@b" in without_secrets(text)


@pytest.mark.parametrize("text", ["s3://bucket/a@b", "http://127.0.0.1:8265", "at 12:30 @home", "gs://bucket"])
def test_other_text_stays(text: str) -> None:
    assert without_secrets(text) == text


def test_a_store_never_says_its_password() -> None:
    storage = Storage.at(f"{_URI}?endpoint_override=127.0.0.1:1&scheme=http")
    assert storage.root.startswith("s3://***@bucket/results")
    with pytest.raises(StoreError, match=r"s3://\*\*\*@bucket") as caught:
        Storage.at("s3://AKIAKEY:se/cret@bucket")
    assert not any(secret in str(caught.value) for secret in _SECRETS)


def test_a_driver_refuses_a_password_where_ray_would_show_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch", "tiny", "--out", _URI, "--address", "127.0.0.1:1"]) == 2
    said = capsys.readouterr().err
    assert "must name no password on a cluster" in said and said.count("\n") == 1
    assert not any(secret in said for secret in _SECRETS)


def test_an_address_is_a_url() -> None:
    with pytest.raises(ClusterError, match=r"must be the URL of the head's dashboard.*; got '127.0.0.1:8265'"):
        Cluster("127.0.0.1:8265")


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        for verb in (["logs", "/r"], ["stop", "/r"], ["submit", "tiny", "--out", "/nowhere/r"]):
            assert main([*verb, "--address", url]) == 2
            said = capsys.readouterr().err
            assert said.startswith(f"monosweep: no Ray cluster answers at {url}; start one") and said.count("\n") == 1


def test_a_driver_belongs_on_a_node(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["launch", "tiny", "--out", str(tmp_path / "r"), "--address", "ray://127.0.0.1:10001"]) == 2
    assert "a driver runs on a node of its cluster; from elsewhere use monosweep submit" in capsys.readouterr().err


def test_listing_needs_no_cluster(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "r"))
    assert main(["list", str(tmp_path / "r")]) == 0
    assert "no sweeps in" in capsys.readouterr().out
    store.write_spec("tiny", load_spec("tiny").to_json())
    with store.lease("tiny", "tiny-0123abcd"):
        assert main(["list", str(tmp_path / "r")]) == 0
        header, row = capsys.readouterr().out.splitlines()
        assert header.split()[:3] == ["sweep", "state", "done"]
        assert row.split()[:7] == ["tiny", "active", "0", "0", "0", "0", "4"] and "Ray job tiny-0123abcd" in row
        assert main(["submit", "tiny", "--out", str(tmp_path / "r")]) == 2
        assert "tiny is being driven (lease" in capsys.readouterr().err
    assert main(["list", str(tmp_path / "r")]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1] == "unfinished"


def test_resume_asks_which(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "r"))
    for name in ("tiny", "quick"):
        store.write_spec(name, load_spec(name).to_json())
    assert main(["resume", str(tmp_path / "r")]) == 2
    assert (
        "resume needs the name of a sweep; " in (said := capsys.readouterr().err) and "has quick, tiny; add one" in said
    )
    assert main(["resume", str(tmp_path / "r"), "tinny"]) == 2
    assert "did you mean 'tiny'?" in capsys.readouterr().err


def test_resuming_trains_all_that_was_asked_for() -> None:
    resume = driver_options(ResumeArgs(out="/r", workers="2", retry_failed=True))
    assert resume == ["--device", "auto", "--workers", "2", "--retry-failed", "--unfinished"]
    assert parse(LaunchArgs, ["tiny", *resume], prog="monosweep launch", description="").unfinished
    assert driver_options(SubmitArgs(spec="tiny", out="/r")) == ["--device", "auto"]


def test_nothing_is_left_to_resume_where_another_sweep_has_trained_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tiny = load_spec("tiny")
    for name in ("one", "two"):
        options = LaunchOptions(executor="inline", device="cpu")
        launch(tiny.model_copy(update={"name": name}), str(tmp_path / "r"), options, Console(file=io.StringIO()))
    assert main(["resume", str(tmp_path / "r"), "two"]) == 0
    assert capsys.readouterr().out == "nothing to resume: all 4 trials of two have their rows\n"


def test_a_worker_elsewhere_says_that_it_does_not_see_the_root(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "r"))
    store.check_reachable()
    (tmp_path / "r/monosweep.json").unlink()
    with pytest.raises(
        StoreError, match=r"does not see the results root .*; on a cluster --out is s3://bucket/folder or"
    ):
        store.check_reachable()
