"""What a run leaves in its folder, and that a folder that cannot be written is a sentence."""

from __future__ import annotations

import errno
import json
import logging
import math
from pathlib import Path

import pytest
import torch

from trainers.engine import outputs as run
from trainers.engine.distributed import World
from trainers.engine.errors import TrainerError
from trainers.engine.files import dump_json
from trainers.engine.outputs import open_outputs

FIRST, SECOND = (
    World(rank=rank, local_rank=rank, world_size=1, device=torch.device("cpu")) for rank in (0, 1)
)
log = logging.getLogger("trainers")


def test_what_is_in_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Log, figures, events, settings, statistics; nothing temporary."""
    folder = tmp_path / "a" / "run"
    with open_outputs(folder, FIRST, trainer="toy", config={"loop": {"keep": 3}}) as outputs:
        log.info("hello")
        log.warning("look out")
        outputs.figures(3, "train", {"loss": 0.5, "bad": math.nan}, total_steps=9)
        outputs.attach("statistics.json", {"mean": [1.0]})

    names = {path.name for path in folder.iterdir()}
    assert names == {
        "train.log",
        "metrics.jsonl",
        "tensorboard",
        "config_used.yaml",
        "config_used.json",
        "statistics.json",
        "checkpoints",
    }
    assert capsys.readouterr().out == "hello\nwarning: look out\n"
    assert "warning: look out" in (folder / "train.log").read_text()
    line = json.loads((folder / "metrics.jsonl").read_text())
    assert (line["step"], line["total_steps"], line["split"]) == (3, 9, "train")
    assert (line["loss"], line["bad"]) == (0.5, None)
    assert json.loads((folder / "statistics.json").read_text()) == {"mean": [1.0]}
    assert json.loads((folder / "config_used.json").read_text()) == {"loop": {"keep": 3}}


def test_tensorboard_reads_the_events(tmp_path: Path) -> None:
    """The figures are scalars by split and name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with open_outputs(tmp_path, FIRST, trainer="toy", config={}) as outputs:
        outputs.figures(1, "train", {"loss": 2.0})
        outputs.figures(2, "train", {"loss": 1.0})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()

    found = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert found == [(1, 2.0), (2, 1.0)]


def test_only_the_first_rank_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others say nothing and leave nothing."""
    with open_outputs(tmp_path / "run", SECOND, trainer="toy", config={}) as outputs:
        log.warning("look out")
        outputs.figures(1, "train", {"loss": 2.0})
        outputs.attach("statistics.json", {})

    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_the_logger_is_left_as_it_was(tmp_path: Path) -> None:
    """Two runs in one process do not speak twice."""
    before = (log.level, log.propagate, list(log.handlers))

    with open_outputs(tmp_path, FIRST, trainer="toy", config={}):
        assert len(log.handlers) == len(before[2]) + 2

    assert (log.level, log.propagate, log.handlers) == before


def test_a_line_torn_by_a_crash_is_ended(tmp_path: Path) -> None:
    """A resumed run's figures do not go on in half a line."""
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"ste')

    with open_outputs(tmp_path, FIRST, trainer="toy", config={}) as outputs:
        outputs.figures(2, "train", {})

    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert lines[1] == '{"ste'
    assert json.loads(lines[2])["step"] == 2


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A file in the way is a sentence with a way out."""
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(TrainerError, match="cannot be written: Not a directory") as caught,
        open_outputs(tmp_path / "file" / "run", FIRST, trainer="toy", config={}),
    ):
        pass

    assert caught.value.hint == "give another --out-dir"


class Full:
    """Events on a disk that is full."""

    def add_event(self, _event: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        self.add_event(None)


def test_figures_that_find_no_room_end_no_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said once, and closing says nothing more."""
    with open_outputs(tmp_path, FIRST, trainer="toy", config={}) as outputs:
        outputs.events.close()
        outputs.events = Full()
        outputs.figures(1, "train", {"loss": 2.0})
        outputs.figures(2, "train", {"loss": 1.0})

    assert capsys.readouterr().out == (
        "warning: TensorBoard events are no longer recorded: No space left on device\n"
    )
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    run._close(Full())


def test_what_a_run_cannot_do_without_is_a_sentence(tmp_path: Path) -> None:
    """Statistics that cannot be written end it."""
    (tmp_path / "statistics.json").mkdir()

    with (
        pytest.raises(TrainerError, match=r"statistics.json cannot be written: Is a directory"),
        open_outputs(tmp_path, FIRST, trainer="toy", config={}) as outputs,
    ):
        outputs.attach("statistics.json", {})


def test_other_data_than_a_run_began_with_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the split that has changed, with both counts."""
    splits = {"train": ("a", 4), "val": ("b", 2)}
    for digest, count in (("a", 4), ("c", 3)):
        splits["train"] = (digest, count)
        about = {
            name: {"source": f"set/{name}", "digest": one, "songs": number, "frames": 10 * number}
            for name, (one, number) in splits.items()
        }
        with open_outputs(tmp_path / "run", FIRST, trainer="toy", config={}) as outputs:
            outputs.attach_data(about, counted="songs")
    said = capsys.readouterr().out
    assert said == (
        "warning: set/train has changed since this run began: "
        "4 songs of 40 frames then, 3 of 30 now\n"
    )


@pytest.mark.parametrize("before", [{"digest": "a"}, {"digest": "a", "posters": "x"}, [], 3])
def test_data_of_other_units_and_a_file_of_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: object
) -> None:
    """Posters have elements; a data.json of another origin is a sentence."""
    now = {"source": "set", "digest": "b", "posters": 2, "elements": 9}
    path = tmp_path / "data.json"
    path.write_text(json.dumps({"train": {**now, "digest": "a", "elements": 7}}))
    with open_outputs(tmp_path, FIRST, trainer="toy", config={}) as outputs:
        outputs.attach_data({"train": now}, counted="posters", units="elements")
    assert "2 posters of 7 elements then, 2 of 9 now" in capsys.readouterr().out

    path.write_text(json.dumps({"train": before}))
    with pytest.raises(TrainerError, match=r"data.json does not describe the data"):
        outputs.attach_data({"train": now}, counted="posters", units="elements")


def test_json_has_no_number_that_is_not_finite() -> None:
    """Other programs could not read it."""
    values = {"a": [1.5, math.nan, (math.inf,)], "b": {"c": -math.inf}, "d": "nan", "e": True}
    assert json.loads(dump_json(values)) == {
        "a": [1.5, None, [None]],
        "b": {"c": None},
        "d": "nan",
        "e": True,
    }
