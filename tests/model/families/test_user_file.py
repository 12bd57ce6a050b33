"""A family from a user's file: trained, told apart by its code, sent to other processes, and its mistakes named."""

import dataclasses
import inspect
import pickle
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_optimizer

from monosweep.model.config import ConfigError, TrialConfig, shape_fields, shape_of
from monosweep.model.data.random import generator
from monosweep.model.engines import make_engine
from monosweep.model.families import (
    config_of,
    describe,
    description_of,
    family_of,
    load,
    register,
    resolve,
    source_of,
)
from monosweep.model.families.source import Source
from monosweep.model.family import Family
from monosweep.model.memory import bytes_of_pack
from monosweep.model.schedule import lr_at
from monosweep.model.trainer import PackTrainer

FILE = Path(__file__).parents[2] / "families" / "linear_autoencoder.py"
NAME = "linear_autoencoder.py:LinearAutoencoder"
TEXT = FILE.read_text()


@pytest.fixture(autouse=True)
def _known():
    assert resolve(f"{FILE.name}:LinearAutoencoder", FILE.parent) == NAME


def trial(**knobs):
    return config_of({"family": NAME, "batch_size": 32, "n_steps": 120, "lr": 0.02, "lr_period": 50, **knobs})


def pack():
    """Trials that differ in all that members may differ in; two of a length of their own, two on the same samples."""
    return [
        trial(
            seed=i // 2, lr=0.01 * (1 + i), shrink=(0, 0.01, 0.1)[i % 3], falloff=0.8 if i < 2 else 0.6,
            n_steps=(120, 70)[i == 3], lr_schedule=("cosine", "constant", "cosine_to_zero")[i % 3],
        )
        for i in range(7)
    ]  # fmt: skip


def by_hand(config, n_steps):
    """The same training as a plain loop, written from the family's description alone."""

    def normal(purpose, *shape, step=0):
        return np.random.Generator(generator(config.seed, purpose, block=step)).standard_normal(shape)

    n, k, kind = config.n_inputs, config.n_latents, {"fp32": torch.float32, "fp64": torch.float64}[config.precision]
    scales = torch.tensor([config.falloff**i for i in range(n)], dtype=kind)
    encoder = torch.tensor(normal("encoder", k, n) / n, dtype=kind, requires_grad=True)
    decoder = torch.tensor(normal("decoder", n, k) / k, dtype=kind, requires_grad=True)
    optimizer = torch_optimizer.Lamb([encoder, decoder], lr=config.lr)
    losses = []
    for step in range(1, n_steps + 1):
        x = torch.tensor(normal("inputs", config.samples_per_step, n, step=step), dtype=kind) * scales
        loss = ((x @ (decoder @ encoder).T - x) ** 2).sum() / len(x)
        optimizer.zero_grad()
        (loss + config.shrink * ((encoder**2).sum() + (decoder**2).sum())).backward()
        optimizer.param_groups[0]["lr"] = lr_at(config, step)
        optimizer.step()
        losses.append(loss.item())
    covariance = torch.diag(scales**2).double()
    rest = torch.eye(n).double() - (decoder @ encoder).detach().double()
    left = torch.trace(rest @ covariance @ rest.T) / torch.trace(covariance)
    return np.array(losses), {"encoder": encoder.detach(), "decoder": decoder.detach()}, 1 - float(left)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp64", 1e-10)])
@pytest.mark.parametrize("engine", ["solo", "vmapped"])
def test_a_users_family_trains_as_a_plain_loop(engine, precision, tolerance):
    config = trial(shrink=0.01, precision=precision, seed=4)
    losses, params, explained = by_hand(config, 120)
    found = make_engine([config], "cpu", engine)
    np.testing.assert_allclose(found.advance(120)[:, 0], losses, rtol=tolerance)
    for name, theirs in params.items():
        ours = found.params(0)[name]
        assert torch.linalg.vector_norm(ours - theirs) <= tolerance * torch.linalg.vector_norm(theirs)
    trainer = PackTrainer([config], "cpu", engine=engine)
    *_, last = trainer
    (result,) = last.left
    assert result.metrics["explained_variance"] == pytest.approx(explained, rel=10 * tolerance)
    assert 0.5 < explained < 1


def test_auto_packs_a_users_family_and_each_is_as_if_alone():
    configs = pack()
    trainer = PackTrainer(configs, "cpu", record="log2")
    assert trainer.engine == "vmapped"
    for _ in trainer:
        pass
    for result in trainer.results():
        alone = PackTrainer([result.config], "cpu", record="log2", engine="solo")
        *_, last = alone
        (expected,) = last.left
        assert result.last_step == expected.last_step == result.config.n_steps
        for name, value in expected.metrics.items():
            assert result.metrics[name] == pytest.approx(value, rel=1e-4)
        assert result.curve.keys() == expected.curve.keys() >= {"step", "loss", "lr", "explained_variance"}
        np.testing.assert_allclose(result.curve["explained_variance"], expected.curve["explained_variance"], 1e-4, 1e-5)
        assert list(result.tables) == ["latents"] and list(result.tables["latents"]) == ["step", "latent", "norm"]
        for name, column in expected.tables["latents"].items():
            np.testing.assert_allclose(result.tables["latents"][name], column, rtol=1e-4)
        assert list(result.tables["latents"]["step"][:6]) == [1, 1, 1, 2, 2, 2]


def test_what_is_known_of_it():
    description = describe(NAME)
    assert description == description_of(trial()) and description.name == NAME
    assert description.config is type(trial()) and issubclass(description.config, TrialConfig)
    assert family_of(trial()).describe() == description
    assert {"n_inputs", "n_latents", "batch_size", "family"} <= set(shape_fields(description.config))
    assert "shrink" not in shape_fields(description.config)
    assert shape_of(trial()) == shape_of(trial(shrink=1, seed=5)) != shape_of(trial(n_latents=2))
    assert source_of(NAME).text == TEXT
    assert inspect.getsource(description.metrics).lstrip().startswith("@dataclass(frozen=True)\n    class Metrics")
    per_pack, per_member = bytes_of_pack(trial())
    assert per_pack > 0 and bytes_of_pack(trial(n_inputs=1000))[1] > 20 * per_member
    with pytest.raises(ConfigError, match="in a file that has not been read here"):
        describe("other.py:Other")


def test_members_must_be_of_the_same_code():
    other = load(Source(FILE.name, "LinearAutoencoder", TEXT.replace(".mean()", ".mean() * 2")))
    twin = other.Config.from_dict(trial(seed=9).to_dict())
    with pytest.raises(ConfigError, match="must be of the same code; got two of linear_autoencoder"):
        PackTrainer([trial(), twin], "cpu")


SCRIPT = """
import pickle, sys
from monosweep.model.trainer import PackTrainer
configs, data = pickle.load(sys.stdin.buffer)
found = []
for trainer in (PackTrainer(configs, "cpu"), PackTrainer.from_bytes(data, "cpu")):
    for _ in trainer:
        pass
    found.append([(r.config, r.config.trial_id, r.metrics, r.tables["latents"]["norm"]) for r in trainer.results()])
pickle.dump(found, sys.stdout.buffer)
"""


def test_configs_and_checkpoints_go_to_a_fresh_process_without_the_file(tmp_path):
    configs, trainer, half = pack()[:3], PackTrainer(pack()[:3], "cpu"), PackTrainer(pack()[:3], "cpu")
    while half.step < 64:
        half.advance()
    given = pickle.dumps((configs, half.to_bytes()))
    done = subprocess.run([sys.executable, "-c", SCRIPT], input=given, capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr.decode()
    for _ in trainer:
        pass
    for there in pickle.loads(done.stdout):
        for (config, trial_id, metrics, norms), here in zip(there, trainer.results(), strict=True):
            assert config == here.config and trial_id == here.config.trial_id and metrics == here.metrics
            np.testing.assert_array_equal(norms, here.tables["latents"]["norm"])
    again = pickle.loads(pickle.dumps(configs[0]))
    assert again == configs[0] and type(again) is type(configs[0])
    assert dataclasses.replace(again, lr=1).trial_id == dataclasses.replace(configs[0], lr=1.0).trial_id


def test_a_checkpoint_goes_on_with_the_code_that_wrote_it():
    """Though the file has been changed since."""
    trainer = PackTrainer([trial()], "cpu")
    trainer.advance()
    register(Source(FILE.name, "LinearAutoencoder", TEXT.replace(".mean()", ".mean() * 2")))
    assert trial().trial_id != trainer.configs[0].trial_id
    continued = PackTrainer.from_bytes(trainer.to_bytes(), "cpu")
    assert continued.configs == trainer.configs and continued.configs[0].DIGEST == trainer.configs[0].DIGEST


def edited(*changes, text=TEXT):
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


def digest(text, name="LinearAutoencoder"):
    return Source(FILE.name, name, text).digest


SAME = [
    [("class LinearAutoencoder", "# a remark\n\n\nclass LinearAutoencoder")], [("n, k = ", "(n,   k) = ")],
    [("    @classmethod\n    def fixed", "\n\n    @classmethod  # why\n    def fixed")], [('"encoder"', "'encoder'")],
    [("config.n_inputs, config.n_latents\n", "config.n_inputs, (\n            config.n_latents\n        )\n")],
]  # fmt: skip
OTHER = [
    [(".mean()", ".sum()")], [("n_latents: Shape[int] = 3", "n_latents: Shape[int] = 4")], [("/ n,", "/ k,")],
    [("Shape[int] = 12", "int = 12")], [("- x)", "+ x)")], [("0.0\n", "None\n")], [("0.0\n", "False\n")],
    [("from dataclasses import dataclass\n", "from dataclasses import dataclass\nimport math\n")],
]  # fmt: skip


@pytest.mark.parametrize("changes", SAME)
def test_comments_and_layout_are_no_other_code(changes):
    assert digest(edited(*changes)) == digest(TEXT)
    load(Source(FILE.name, "LinearAutoencoder", edited(*changes)))


def test_other_code_has_another_digest():
    digests = [digest(TEXT), *(digest(edited(*changes)) for changes in OTHER), digest(TEXT, "Other")]
    assert len(set(digests)) == len(digests)


def test_the_digest_of_a_text_is_pinned():
    """Rows in the world have it in their ids, whatever Python reads the text: what a newer `ast` adds is empty."""
    text = "class A(B, metaclass=C):\n    x: int = -1.5\n    def f(self, *a, b=b'b', **c):\n        return f'{a!r}'\n"
    assert digest(text, "A") == "80dc409a2b3240a0"


def test_trial_ids_know_the_code():
    ids = {trial().trial_id, trial(shrink=1).trial_id, trial(seed=1).trial_id}
    for text in (edited((".mean()", ".sum()")), edited(*SAME[0])):
        ids.add(load(Source(FILE.name, "LinearAutoencoder", text)).Config.from_dict(trial().to_dict()).trial_id)
    assert len(ids) == 4 and all(re.fullmatch("[0-9a-f]{16}", trial_id) for trial_id in ids)


def line(text):
    return next(number for number, found in enumerate(TEXT.splitlines(), 1) if text in found)


MARK, IMPORT, FALL = "@dataclass(frozen=True, kw_only=True)", "import numpy as np\n", "falloff: float = 0.8"
CLASS, CONFIG, METRICS = "class LinearAutoencoder", "class Config", "class Metrics"
MISTAKES = [
    (CONFIG, "class Config(", line(CONFIG), "SyntaxError: "),
    (CLASS, "class LinearAutoencode", None, "unknown class 'LinearAutoencoder'; did you mean 'LinearAutoencode'?"),
    (f"{CLASS}(Family)", CLASS, line(CLASS), "LinearAutoencoder must be a subclass of monosweep.model.Family"),
    ("class Config(TrialConfig)", "class Knobs(TrialConfig)", line(CLASS), "have a nested class Config(TrialConfig)"),
    ("class Config(TrialConfig)", CONFIG, line(CONFIG), "must have a nested class Config(TrialConfig)"),
    (f"    {MARK}\n    {CONFIG}", f"    {CONFIG}", line(MARK), f"Config must be decorated with {MARK}"),
    (MARK, "@dataclass", line(MARK), "TypeError: cannot inherit non-frozen dataclass from a frozen one"),
    (FALL, "falloff: float", line(FALL), "falloff must have a default, as every knob has"),
    (FALL, "falloff: list = None", line(FALL), "falloff must be an int, float, str or Literal of words"),
    (FALL, "falloff: Unknown = 0.8", line(FALL), "NameError: name 'Unknown' is not defined"),
    (FALL, 'falloff: "Unknown" = 0.8', line(CONFIG), "the types of Config's fields: NameError: name 'Unknown'"),
    (FALL, 'falloff: float = "high"', line(CONFIG), "falloff must be a number; got 'high'"),
    (FALL, "stream: float = 0.8", line(FALL), "stream is what all configs have as a method"),
    (FALL, "batch_size: int | None = 8", line(FALL), "batch_size is a knob of all configs; keep"),
    (FALL, "lr: int = 1", line(FALL), "lr is a knob of all configs; keep its type and its Shape"),
    ('        """Inputs, and outputs."""\n', "", line("n_inputs:"), "n_inputs must have a docstring under it"),
    ('        """How', '        # """How', line("explained_variance: float"), "must have a docstring under it"),
    (f"    @dataclass(frozen=True)\n    {METRICS}", f"    {METRICS}", line(METRICS) - 1, "Metrics must be a dataclass"),
    ("    def sample(", "    def samples(", line(CLASS), "LinearAutoencoder must have a method sample"),
    ("        step: Int32", "        at: Int32", line(CLASS), "Tables['latents'] must have a field step"),
    (IMPORT, f"{IMPORT[:-1]}; 1 / 0\n", line(IMPORT[:-1]), "ZeroDivisionError: division by zero"),
    (IMPORT, "import nympy as np\n", line(IMPORT[:-1]), "ModuleNotFoundError: No module named 'nympy'"),
    (IMPORT, "raise SystemExit(3)\n", line(IMPORT[:-1]), "SystemExit: 3"),
    (IMPORT, "raise ValueError('a\\nb')\n", line(IMPORT[:-1]), "ValueError: a"),
    (IMPORT, "x = '\0'\n", None, "source code string cannot contain null bytes"),
]


@pytest.mark.parametrize(("old", "new", "at", "message"), MISTAKES)
def test_mistakes_are_named_in_one_line_with_their_place(old, new, at, message):
    with pytest.raises(ConfigError) as caught:
        register(Source(FILE.name, "LinearAutoencoder", edited((old, new))))
    text = str(caught.value)
    assert "\n" not in text and message in text
    assert text.startswith(f"family {NAME}: {FILE.name}{f' line {at}' if at else ''}: ")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe\x00")
    for path, problem in (("no.py", "No such file"), ("bytes.py", "not text"), (".py", "No such file")):
        with pytest.raises(ConfigError, match=f"must name a Python file and a class in it; '{path}': {problem}"):
            resolve(f"{path}:Toy", tmp_path)


def test_ours_cannot_be_taken_for_a_users():
    text = "from monosweep.model.families.two_layer.network import TwoLayer\nclass Mine(TwoLayer):\n    pass\n"
    with pytest.raises(ConfigError, match="line 2: Mine must have a nested class Config"):
        load(Source("mine.py", "Mine", text))
    from monosweep.model.families.two_layer.config import TwoLayerConfig

    assert TwoLayerConfig().family == "two_layer"


@pytest.mark.parametrize("engine", ["solo", "vmapped"])
@pytest.mark.parametrize("method", ["loss", "after"])
def test_a_knob_that_members_may_differ_in_cannot_be_read_from_the_config(engine, method):
    """A pack would train all its members with the first one's."""
    if method == "loss":
        text = edited(('knobs["shrink"]', "config.shrink"))
    else:
        text = TEXT + (
            "    @classmethod\n    def after(cls, config, params, before, passed, knobs):\n"
            "        return {'encoder': params['encoder'] * (1 - config.shrink)}\n"
        )
    config = load(Source(FILE.name, "LinearAutoencoder", text)).Config()
    with pytest.raises(ConfigError, match=r"may differ in shrink; read it as knobs\['shrink'\], or make it a Shape"):
        make_engine([config], "cpu", engine).advance(1)


def test_after_may_say_what_it_changes_and_no_more():
    text = TEXT + (
        "    @classmethod\n    def after(cls, config, params, before, passed, knobs):\n"
        "        return {'encoder': params['encoder'] * (1 - 0.1 * knobs['shrink'])}\n"
    )
    kind = load(Source(FILE.name, "LinearAutoencoder", text)).Config
    configs = [kind(shrink=shrink, batch_size=8) for shrink in (0.0, 0.5)]
    together = make_engine(configs, "cpu", "vmapped").advance(20)
    for member, config in enumerate(configs):
        alone = make_engine([config], "cpu", "solo").advance(20)
        np.testing.assert_allclose(together[:, member], alone[:, 0], rtol=1e-4)
    plain = make_engine([trial(batch_size=8, lr=0.003, lr_period=512, shrink=s) for s in (0, 0.5)], "cpu").advance(20)
    np.testing.assert_allclose(together[:, 0], plain[:, 0], rtol=1e-6)
    assert np.abs(together[5:, 1] / plain[5:, 1] - 1).min() > 1e-4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('return {"explained', 'return {"un', "curve must give explained_variance; got un_variance"),
        ('return {"latents": {', 'return {"latent": {', "rows must give the tables latents; got latent"),
        ('"norm": norms', '"length": norms', "rows must give of latents latent, norm; got latent, length"),
        ('"norm": norms', '"norm": norms[1:]', "latents must be of one length; got {'latent': 3, 'norm': 2}"),
    ],
)  # fmt: skip
def test_what_is_reported_must_be_what_was_declared(old, new, message):
    kind = load(Source(FILE.name, "LinearAutoencoder", edited((old, new)))).Config
    with pytest.raises(ConfigError, match=re.escape(message)):
        list(PackTrainer([kind(n_steps=2, batch_size=4)], "cpu"))


def test_the_contracts_own_example_trains(tmp_path):
    (tmp_path / "my_toy.py").write_text(example())
    name = resolve("my_toy.py:MyToy", tmp_path)
    configs = [config_of({"family": name, "noise": noise, "n_steps": 50, "batch_size": 16}) for noise in (0, 0.5)]
    trainer = PackTrainer(configs, "cpu")
    *_, last = trainer
    assert [set(result.metrics) for result in last.left] == [{"loss", "min_loss"}] * 2
    assert last.left[0].curve["loss"][-1] < last.left[0].curve["loss"][0]
    assert last.left[0].metrics != last.left[1].metrics


def example():
    lines = inspect.getdoc(Family).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("    import"))
    stop = max(i for i, line in enumerate(lines) if line.startswith("    "))
    return textwrap.dedent("\n".join(lines[start : stop + 1])) + "\n"


@pytest.mark.parametrize("engine", ["vmapped", "solo"])
def test_samples_may_depend_on_any_knob_but_those_of_the_rate(engine):
    """Trials of one seed share samples only where no knob of the family's own tells them apart."""
    text = edited(("config.n_inputs, step=step)}", "config.n_inputs, step=step) * config.falloff}"))
    kind = load(Source(FILE.name, "LinearAutoencoder", text)).Config
    assert kind().stream() == kind(lr=1, lr_period=3, lr_schedule="constant").stream()
    others = ({"falloff": 0.5}, {"shrink": 1.0}, {"seed": 3}, {"n_steps": 7})
    assert len({kind().stream(), *(kind(**knobs).stream() for knobs in others)}) == 5
    configs = [kind(falloff=falloff, batch_size=8) for falloff in (0.8, 0.4)]
    together = [make_engine([config], "cpu", engine).advance(3)[:, 0] for config in configs]
    if engine == "vmapped":
        together = list(make_engine(configs, "cpu", engine).advance(3).T)
    for losses, config in zip(together, configs, strict=True):
        np.testing.assert_allclose(losses, make_engine([config], "cpu", "solo").advance(3)[:, 0], rtol=1e-5)
