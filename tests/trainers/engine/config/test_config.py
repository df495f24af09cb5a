"""Settings from defaults, presets, files and flags, in every spelling; refusals in a sentence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
from annotated_types import Gt

from trainers.engine.config.config import (
    ConfigError,
    dump,
    from_dict,
    main,
    resolve,
    setting,
    to_dict,
)
from trainers.engine.config.sections import LoopConfig, OptimConfig, RunConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    width: Annotated[int, Gt(0)] = setting(512, "channels", also=("net_width",))
    down_t: int = setting(2, "halvings")
    use_cache: bool = setting(True, "keep windows")
    kind: Literal["conv", "attention"] = setting("conv", "layers")
    name: str | None = setting(None, "what to call it")
    source: Path | None = setting(None, "where from")
    multi_length_training: tuple[float, ...] = setting((1.0,), "ratios")
    counts: tuple[int, ...] | None = setting(None, "how many")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    run: RunConfig = RunConfig()
    loop: LoopConfig = LoopConfig(total_iter=600)
    optim: OptimConfig = OptimConfig()
    model: Model = Model()
    debug: bool = setting(False, "say more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ambiguous:
    one: Model = Model()
    other: Model = Model()


def from_flags(*argv: str, presets: Path | None = None) -> Config:
    return resolve(Config, argv, name="toy", presets=presets)


def refusal(*argv: str, presets: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        from_flags(*argv, presets=presets)
    assert caught.value.exit_code == 2
    return caught.value.message


def test_defaults_are_those_of_the_instance_in_the_class() -> None:
    """A trainer's own default of an engine setting counts."""
    assert from_flags() == Config()
    assert from_flags().loop.total_iter == 600


@pytest.mark.parametrize(
    "spelling",
    [
        ["--lr", "3e-4"],
        ["--lr=3e-4"],
        ["--optim.lr", "3e-4"],
        ["--optim.lr=0.0003"],
        ["--lr", "1", "--lr", "3e-4"],
    ],
)
def test_spellings_of_a_value(spelling: list[str]) -> None:
    """Bare or dotted, with a space or =; the last one counts."""
    assert from_flags(*spelling).optim.lr == 3e-4


@pytest.mark.parametrize("flag", ["--down_t", "--down-t", "--model.down_t", "--model.down-t"])
def test_dashes_and_underscores_are_alike(flag: str) -> None:
    """Both ways of writing a name are the same name."""
    assert from_flags(flag, "3").model.down_t == 3


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--use_cache"], True),
        (["--use-cache", "True"], True),
        (["--use_cache=yes"], True),
        (["--use_cache", "False"], False),
        (["--use_cache", "0"], False),
        (["--no-use-cache"], False),
        (["--no_use_cache"], False),
        (["--use_cache", "--width", "4"], True),
    ],
)
def test_spellings_of_a_switch(argv: list[str], *, expected: bool) -> None:
    """Bare, with a truth value in any case, or negated."""
    assert from_flags(*argv).model.use_cache is expected


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--mixed_precision"], "auto"),
        (["--mixed_precision", "True"], "auto"),
        (["--no-mixed-precision"], "off"),
        (["--mixed-precision", "off"], "off"),
        (["--mixed-precision", "bf16"], "bf16"),
    ],
)
def test_a_choice_can_be_a_switch(argv: list[str], expected: str) -> None:
    """A choice that was a flag elsewhere may be given as one."""
    assert from_flags(*argv).loop.mixed_precision == expected


@pytest.mark.parametrize(
    "argv",
    [
        ["--multi_length_training", "0.5", "1.0", "1.5"],
        ["--multi-length-training", "0.5,1,1.5", "--width", "512"],
        ["--multi_length_training=[0.5, 1.0, 1.5]"],
    ],
)
def test_spellings_of_a_list(argv: list[str]) -> None:
    """A list is typed with spaces, or as one word with commas."""
    assert from_flags(*argv).model.multi_length_training == (0.5, 1.0, 1.5)


def test_another_name_of_a_setting(tmp_path: Path) -> None:
    """As a flag, dashed or not, and in a file; it is the same setting."""
    file = tmp_path / "c.yaml"
    file.write_text("net_width: 3")
    for words in (("--net-width", "3"), ("--net_width=3",), ("--config", str(file))):
        assert from_flags(*words).model.width == 3
    assert from_flags("--net-width", "3", "--width", "4").model.width == 4


def test_torch_distributed_launch_may_add_the_local_rank() -> None:
    """It is known from the environment."""
    assert from_flags("--local-rank=1", "--width", "3").model.width == 3


def test_none_in_all_its_spellings() -> None:
    """None means none where a setting may be none, an empty list where it is a list."""
    config = from_flags("--total_iter", "None", "--patience=none", "--lr_scheduler", "none")

    assert (config.loop.total_iter, config.loop.patience) == (None, None)
    assert config.optim.lr_scheduler == ()


def test_resume_is_bare_auto_or_a_path() -> None:
    """--resume alone means auto."""
    assert from_flags("--resume").run.resume == "auto"
    assert from_flags("--resume", "some/run").run.resume == "some/run"
    assert from_flags().run.resume == "none"


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--widht", "3"], "--widht is not a setting of toy; the nearest is --width"),
        (["--down-tt", "3"], "--down-tt is not a setting of toy; the nearest is --down-t"),
        (["--model.widht", "3"], "the nearest is --model.width"),
        (["--modle.width", "3"], "the nearest is --model.width"),
        (["--no-width"], "--no-width is not a setting of toy"),
        (["--zzz"], "--zzz is not a setting of toy"),
        (["width=3"], "'width=3' is not a flag of toy: flags start with --"),
        (["--defaults", "width=3", "abc"], "'abc' is not a flag of toy: flags start with --"),
        (["--width"], "--width needs a value"),
        (["--width", "--lr", "1"], "--width needs a value"),
        (["--width", "wide"], "model.width cannot be 'wide' (--width): a whole number is wanted"),
        (["--width", "2.5"], "model.width cannot be '2.5'"),
        (["--width", "0"], "a whole number, greater than 0, is wanted"),
        (["--lr", "nan"], "optim.lr cannot be 'nan' (--lr): a number is wanted"),
        (["--use_cache", "maybe"], "model.use_cache cannot be 'maybe'"),
        (["--kind", "rnn"], "one of conv, attention is wanted"),
        (["--betas", "0.9"], "a list of 2 numbers is wanted"),
        (["--betas", "1.0", "0.9"], "optim.betas cannot be '1.0 0.9' (--betas)"),
        (["--multi_length_training", "1", "x"], "model.multi_length_training cannot be '1 x'"),
        (["--global-batch", "8", "--accumulate", "2"], "give only one of them"),
    ],
)
def test_refusals_of_flags(argv: list[str], sentence: str) -> None:
    """One sentence: what was typed, what is wrong, what would be right."""
    assert sentence in refusal(*argv)


def test_yaml_takes_bare_dotted_and_nested_keys(tmp_path: Path) -> None:
    """A key may stand alone, with its section, or below it; 2e-4 is a number."""
    file = tmp_path / "some.yaml"
    file.write_text(
        "lr: 2e-4\nmodel.width: 7\nloop: {mixed_precision: off}\nlr_scheduler: [5, 8]\n"
    )

    config = from_flags("--config", str(file))

    assert (config.optim.lr, config.model.width) == (2e-4, 7)
    assert (config.loop.mixed_precision, config.optim.lr_scheduler) == ("off", (5, 8))


def test_json_may_have_comments(tmp_path: Path) -> None:
    """JSON is read with comments and trailing commas, as people write it."""
    file = tmp_path / "some.json"
    file.write_text('{"model": {"width": 7, /* wide */ "name": null,}, // rest\n "debug": true}')

    config = from_flags("--config", str(file))

    assert (config.model.width, config.model.name, config.debug) == (7, None, True)


def test_layers_later_wins(tmp_path: Path) -> None:
    """Defaults, then preset, then file, then flags."""
    (tmp_path / "small.yaml").write_text("width: 1\ndown_t: 1\nlr: 1\n")
    file = tmp_path / "mine.yml"
    file.write_text("down_t: 2\nlr: 2\n")

    config = from_flags("--lr", "3", "--config", str(file), "--preset=small", presets=tmp_path)

    assert (config.model.width, config.model.down_t, config.optim.lr) == (1, 2, 3.0)
    assert config.loop.total_iter == 600


def test_a_file_stands_in_the_place_of_a_preset_that_nobody_named(tmp_path: Path) -> None:
    """Unless it builds on one itself; other wishes of the launcher stay."""
    (tmp_path / "small.yaml").write_text("width: 1\ndown_t: 1\n")
    plain, built = tmp_path / "plain.yml", tmp_path / "built.yml"
    plain.write_text("down_t: 2\n")
    built.write_text("preset: small\ndown_t: 2\n")
    wishes = ("--defaults", "preset=small", "lr=2")

    wished = from_flags(*wishes, presets=tmp_path)
    alone = from_flags(*wishes, "--config", str(plain), presets=tmp_path)
    on_it = from_flags(*wishes, "--config", str(built), presets=tmp_path)

    assert (wished.model.width, wished.model.down_t, wished.optim.lr) == (1, 1, 2.0)
    assert (alone.model.width, alone.model.down_t, alone.optim.lr) == (512, 2, 2.0)
    assert (on_it.model.width, on_it.model.down_t, on_it.optim.lr) == (1, 2, 2.0)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.yaml", "lr: 1\nwidth: [1,\n", "a.yaml, line 3: this is not YAML"),
        ("a.yaml", "lr: 1\n\twidth: 2\n", "a.yaml, line 2: this is not YAML"),
        ("a.json", '{"lr": 1,\n "width" 2}', "a.json, line 2: this is not JSON"),
        ("a.yaml", "- lr\n", "holds no settings"),
        ("a.yaml", "just words", "holds no settings"),
        ("a.yaml", "widht: 2\n", "a.yaml is not a setting of toy; the nearest is width"),
        ("a.yaml", "model: {widht: 2}\n", "model.widht in"),
        ("a.yaml", "model: {lr: 2}\n", "model.lr in"),
        ("a.yaml", "model: 3\n", "is a section"),
        ("a.yaml", "model: {width: wide}\n", "model.width cannot be 'wide'"),
        ("a.yaml", "width: true\n", "model.width cannot be True"),
        ("a.yaml", "width: 1\nmodel: {width: 2}\n", "model.width is given twice in"),
        ("a.yaml", "lr_scheduler: 5\n", "a list of whole numbers is wanted"),
    ],
)
def test_refusals_of_files(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    """A broken file is named with its line, a wrong value with its dotted path."""
    (tmp_path / name).write_text(text)

    assert sentence in refusal("--config", str(tmp_path / name))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """A missing file is named; a missing preset is answered with those there are."""
    (tmp_path / "small.yaml").write_text("")

    assert "No such file" in refusal("--config", str(tmp_path / "none.yaml"))
    assert "big is not a preset of toy; there are: small" in refusal(
        "--preset", "big", presets=tmp_path
    )


def test_ambiguous_leaf_is_refused() -> None:
    """Two settings of one name cannot both be meant by it: the author must rename one."""
    with pytest.raises(TypeError, match=r"one\.width and other\.width"):
        resolve(Ambiguous, [], name="toy")


def test_help_shows_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """--help prints each flag with its meaning and default, and the presets."""
    with pytest.raises(SystemExit) as caught:
        from_flags("--help")

    text = capsys.readouterr().out
    assert caught.value.code == 0
    assert "--multi-length-training" in text
    assert "channels [512]" in text
    assert "(one of conv, attention)" in text
    assert "steps to train; the end of epochs may come first [600]" in text
    assert all(len(line) < 140 for line in text.splitlines())


def test_what_is_dumped_reads_back(tmp_path: Path) -> None:
    """config_used.yaml, given as --config, gives the same config; so does its dictionary."""
    config = from_flags("--lr", "1e-5", "--counts", "1", "2", "--source", "a b", "--name", "7")
    dump(to_dict(config), tmp_path / "config_used.yaml")

    assert from_flags("--config", str(tmp_path / "config_used.yaml")) == config
    assert from_dict(Config, json.loads(json.dumps(to_dict(config))), name="toy", origin="x") == (
        config
    )
    assert [path.name for path in tmp_path.iterdir()] == ["config_used.yaml"]


def test_main_prints_json_or_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """python -m trainers.x.config answers a launcher: JSON and 0, or a sentence and 2."""
    monkeypatch.setattr("sys.argv", ["config", "--width", "7"])
    with pytest.raises(SystemExit) as fine:
        main(Config, name="toy")
    said = capsys.readouterr()
    assert (fine.value.code, json.loads(said.out)["model"]["width"]) == (0, 7)

    monkeypatch.setattr("sys.argv", ["config", "--widht", "7"])
    with pytest.raises(SystemExit) as wrong:
        main(Config, name="toy")
    said = capsys.readouterr()
    assert (wrong.value.code, said.out) == (2, "")
    assert said.err == "error: --widht is not a setting of toy; the nearest is --width.\n"


@pytest.mark.parametrize(
    ("argv", "ranks", "expected"),
    [
        (["--batch-size", "4"], 2, (1, 8)),
        (["--batch-size", "4", "--accumulate", "3"], 2, (3, 24)),
        (["--batch-size", "4", "--global-batch", "32"], 2, (4, 32)),
    ],
)
def test_the_global_batch_and_what_it_takes(
    argv: list[str], ranks: int, expected: tuple[int, int]
) -> None:
    """global batch = batch_size x ranks x accumulate; given, it fixes accumulate."""
    loop = from_flags(*argv).loop

    assert (loop.accumulation(ranks), loop.samples_per_step(ranks)) == expected


def test_a_global_batch_that_does_not_divide_takes_one_pass_more() -> None:
    """30 samples on 2 ranks of at most 4 are 4 passes, not the 3 that would lose some."""
    loop = from_flags("--batch-size", "4", "--global-batch", "30").loop

    assert (loop.accumulation(2), loop.samples_per_step(2)) == (4, 30)


def test_a_global_batch_smaller_than_the_ranks_is_refused() -> None:
    """A rank without a sample has no gradient to give."""
    loop = from_flags("--batch-size", "4", "--global-batch", "3").loop

    with pytest.raises(ConfigError, match="leaves some of 4 ranks without"):
        loop.accumulation(4)
