"""What can be done with a trained model: encode, decode, reconstruct, describe."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from motion_data import MIRRORED, small_config, write_data
from PIL import Image

from trainers.engine.errors import TrainerError
from trainers.motion.drawing import bones_of
from trainers.motion.kinematics import features_to_axis_angle
from trainers.rvq import codes, decode, describe, encode, reconstruct
from trainers.rvq.model import RVQVAE
from trainers.rvq.train import train
from trainers.rvq.trained import load, open_for

CPU = torch.device("cpu")


@pytest.fixture(name="run", scope="module")
def _run(tmp_path_factory):
    """A trained run; its data set lies beside it."""
    folder = tmp_path_factory.mktemp("trained")
    root = write_data(folder / "data", {"train": [40, 33, 64], "val": [21, 8, 30]})
    train(small_config(folder / "run", root))
    return folder / "run"


def coded(run, tmp_path, *flags):
    """The file that encode writes."""
    path = tmp_path / "codes.npz"
    encode.main(["--checkpoint", str(run), "--out", str(path), *flags])
    return path


@pytest.mark.parametrize("rotation", ["6d", "axis_angle"])
def test_decoding_the_codes_is_the_forward_pass(tmp_path, capsys, rotation):
    """From file to file: the poses that decode writes are the forward pass's, bit for bit."""
    root = write_data(tmp_path / "data", {"train": [40, 33], "val": [21, 8, 30]})
    train(small_config(tmp_path / "run", root, dataset={"rotation": rotation}))
    path = coded(tmp_path / "run", tmp_path)
    out = tmp_path / "out"
    decode.main(["--checkpoint", str(tmp_path / "run"), str(path), "--out", str(out)])

    trained = load(tmp_path / "run")
    clips = open_for(trained, None, "val")
    for row, name in enumerate(clips.source.names):
        with torch.no_grad():
            found = trained.model(clips.clips(np.array([row])).features)
            features = trained.model.denormalise(found.output)[0]
        wanted = features_to_axis_angle(features, 7).numpy()
        pose = np.load(out / "val" / name / "pose.npy")
        assert pose.dtype == np.float32
        assert (pose == wanted).all()
    assert "3 clips, 59 frames" in capsys.readouterr().out


def test_codes_are_rows_of_whole_numbers_and_say_whose_they_are(run, tmp_path, capsys):
    """(quantizers, tokens) of each clip, with names, lengths, rate and checkpoint."""
    with np.load(coded(run, tmp_path), allow_pickle=False) as file:
        about, names = (json.loads(file[f"{name}.json"]) for name in ("about", "names"))
        assert names == ["clip00", "clip01", "clip02"]
        assert file["lengths"].tolist() == [21, 8, 30]
        shapes = [file[f"codes/{name}"].shape for name in names]
        assert shapes == [(3, 6), (3, 2), (3, 8)]
        assert file["codes/clip00"].dtype == np.int16
    assert about["fps"] == 30.0
    assert about["checkpoint"] == "step-00000006"
    assert about["split"] == "val"
    # 3 codebooks of 16 codes are 12 bits, 7.5 times a second.
    assert "16 tokens of 3 codes; 90 bits a second" in capsys.readouterr().out


def test_the_rate_that_was_given_is_the_rate(run, tmp_path):
    """Where no skeleton says another: in codes, films and descriptions."""
    trained = load(run)
    root = write_data(tmp_path / "data", {"train": [9], "val": [9]}, joints=52, skeleton=None)
    given = replace(trained.config.dataset, data=str(root), pose_fps=25.0)
    config = replace(trained.config, dataset=given)
    model = RVQVAE(156, config.model, config.quantizer)
    clips = open_for(replace(trained, config=config, model=model), None, "val")
    assert clips.skeleton.fps == clips.source.fps == 25.0
    assert encode.encode(replace(trained, model=model), clips, "val", CPU).about.fps == 25.0
    assert describe.describe(config, "mine").fps == 25.0


def test_the_split_is_the_one_that_it_was_validated_on(run, tmp_path):
    """Unless another is named, or another data set."""
    root = write_data(tmp_path / "data", {"val": [9], "dev": [8], "train": [7]})
    trained = load(run)
    dev = replace(trained.config.dataset, data=str(root), val_split="dev")
    trained = replace(trained, config=replace(trained.config, dataset=dev))

    def lengths(*asked):
        return open_for(trained, *asked).source.lengths.tolist()

    assert lengths(None, None) == [8]
    assert lengths(None, "val") == lengths(str(root), None) == [9]
    assert (lengths(None, "train"), lengths(str(root), "dev")) == ([7], [8])


def test_a_clip_has_the_same_codes_whatever_is_coded_with_it(run, tmp_path):
    """Another split of the same clip, alone in it, gives the same codes."""
    whole = codes.read(coded(run, tmp_path))
    alone = write_data(tmp_path / "alone", {"val": [21]})
    single = codes.read(coded(run, tmp_path, "--data", str(alone)))

    assert (whole.codes["clip00"] == single.codes["clip00"]).all()


def test_what_is_decoded_is_a_data_set(run, tmp_path):
    """It can be opened, coded again, and has the skeleton that the clips had."""
    path = coded(run, tmp_path)
    decode.main(["--checkpoint", str(run), str(path), "--out", str(tmp_path / "out")])
    again = codes.read(coded(run, tmp_path, "--data", str(tmp_path / "out")))

    assert again.lengths == {"clip00": 21, "clip01": 8, "clip02": 30}
    assert again.about.skeleton == MIRRORED
    placed = np.load(tmp_path / "out" / "val" / "clip00" / "keypoints.npy")
    assert placed.shape == (21, 7, 3)
    assert (placed[:, MIRRORED.translation_joint] == 0).all()


def test_the_checkpoint_that_coded_decodes(run, tmp_path):
    """Of a run, the one that coded is taken, not the best; other weights are refused."""
    first = run / "checkpoints" / "step-00000003"
    path = coded(first, tmp_path)
    assert decode.load_for(run, codes.read(path)).path.name == "step-00000003"
    with pytest.raises(TrainerError, match=r"step-00000003 .*step-00000006 has the weights"):
        decode.load_for(run / "checkpoints" / "step-00000006", codes.read(path))


def test_nothing_is_overwritten_or_left_half_done(run, tmp_path):
    """A folder that holds something is refused; where decoding fails, there is no folder."""
    path = coded(run, tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(TrainerError, match="full is not empty"):
        decode.main(["--checkpoint", str(run), str(path), "--out", str(tmp_path / "full")])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(TrainerError, match="cannot be written"):
        decode.main(["--checkpoint", str(run), str(path), "--out", str(path / "below")])
    assert sorted(tmp_path.iterdir()) == before


def changed(path, **changes):
    """The file of codes with other arrays, lists or bytes; in `about`, other keys."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name, value in changes.items():
        if name == "about":
            value = json.loads(members["about.json"]) | value  # noqa: PLW2901
        if isinstance(value, (list, dict)):
            members[f"{name}.json"] = json.dumps(value).encode()
        elif isinstance(value, np.ndarray):
            file = io.BytesIO()
            np.save(file, value)
            members[f"{name.replace('__', '/')}.npy"] = file.getvalue()
        else:
            members[name] = value
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def huge(path):
    """The file of codes with a head of lengths that claims 8 PiB."""
    with zipfile.ZipFile(path) as archive:
        lengths = archive.read("lengths.npy")
    return changed(
        path, **{"lengths.npy": lengths.replace(b"(3,), }  ", b"(1125899906842624,), }")}
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"about": {"format": 2}}, "of another format"),
        ({"about": {"hop": 0}}, "not a file of codes"),
        ({"about": {"split": "../../etc"}}, "a name that cannot be a folder's: '../../etc'"),
        ({"about": {"checkpoint": "../step-00000006"}}, "a name that cannot be a folder's"),
        ({"about": {"joints": "many"}}, "not a file of codes"),
        ({"about.json": b"[" * 100_000}, "not a file of codes"),
        ({"about.json": b"[]"}, "not a file of codes"),
        ({"names": ["clip00", "clip01", ".."]}, r"has no codes/\.\."),
        ({"names": ["clip00", "clip01", 2]}, "not a file of codes"),
        ({"names": ["clip00", "clip01"]}, "lengths are not numbers of frames"),
        ({"names": ["clip00", "clip01", "clip01"]}, "two of its clips have one name"),
        ({"names.json": b'["clip00", "clip01", "\\ud800"]'}, "not a file of codes"),
        ({"lengths": np.array([21.0, 8, 30])}, "lengths are not numbers of frames"),
        (
            {"lengths": np.array([21, 8, -3]), "codes__clip02": np.zeros((3, 0), int)},
            "lengths are not numbers",
        ),
        ({"lengths": np.array([[21, 8, 30]])}, "lengths are not numbers of frames"),
        ({"lengths": np.array(["21", "8", "30"])}, "not a file of codes"),
        ({"lengths": np.array([21, 8, 40])}, r"clip02 has codes int16 \(3, 8\), .* \(3, 10\)"),
        ({"codes__clip01": np.full((3, 2), 16)}, r"clip01 has a code that is not in 0..15"),
        ({"codes__clip01": np.full((3, 2), -1)}, r"clip01 has a code that is not in 0..15"),
        ({"codes__clip01": np.zeros((3, 2))}, "clip01 has codes float64"),
        ({"codes__clip01": np.array([None], dtype=object)}, "never loaded"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(run, tmp_path, changes, sentence):
    """Codes may come from anybody: nothing is unpickled, no name leads out of the folder."""
    path = changed(coded(run, tmp_path), **changes)
    with pytest.raises(TrainerError, match=sentence):
        codes.read(path)


@pytest.mark.parametrize("name", ["", ".", "..", "../out", "/out", "a/b"])
def test_names_that_lead_elsewhere_are_refused(run, tmp_path, name):
    """Of a clip, also where its codes are there; and of the split."""
    path = coded(run, tmp_path)
    with np.load(path) as file:
        there = file["codes/clip00"]
    changed(path, names=[name], lengths=np.array([21]), **{f"codes__{name}": there})
    with pytest.raises(TrainerError, match="a name that cannot be a folder's"):
        codes.read(path)
    with pytest.raises(TrainerError, match="a name that cannot be a folder's"):
        codes.read(changed(coded(run, tmp_path), about={"split": name}))


def test_a_member_that_claims_too_much_is_refused(run, tmp_path):
    """Before anything of that size is allocated; also where it is packed small, or encrypted."""
    path = huge(coded(run, tmp_path))
    with pytest.raises(TrainerError, match="lengths: it is cut off"):
        codes.read(path)
    with pytest.raises(TrainerError, match="codes/clip00 is larger than"):
        codes.read(changed(coded(run, tmp_path), codes__clip00=np.zeros(codes.MOST, np.int8)))
    packed = bytearray(coded(run, tmp_path).read_bytes())
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(packed)
    with pytest.raises(TrainerError, match=r"about.json is encrypted"):
        codes.read(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"not a zip"])
def test_a_broken_file_is_refused(tmp_path, content):
    """Cut, empty, of another kind, or not there."""
    path = tmp_path / "codes.npz"
    path.write_bytes(content)
    with pytest.raises(TrainerError, match="is not a file of codes"):
        codes.read(path)
    with pytest.raises(TrainerError, match="there is no file"):
        codes.read(tmp_path / "gone.npz")


def test_codes_of_another_model_are_refused(run, tmp_path):
    """Where the checksum is right and the sizes are not."""
    path = changed(coded(run, tmp_path), about={"joints": 9})
    with pytest.raises(TrainerError, match="of another model"):
        decode.load_for(run, codes.read(path))


def test_a_picture_and_a_film(run, tmp_path, capsys):
    """A PNG of a row of poses and a GIF at the clip's own pace, each with name and MPJPE."""
    words = ["--checkpoint", str(run), "--clip", "clip02"]
    reconstruct.main([*words, "--out", str(tmp_path / "a.png"), "--clip", "clip00"])
    reconstruct.main([*words, "--out", str(tmp_path / "a.gif")])
    said = capsys.readouterr().out.splitlines()

    assert [line.split(": ")[1].split()[0] for line in said] == ["clip02", "clip00", "clip02"]
    assert all("MPJPE" in line and line.endswith(" cm") for line in said)
    with Image.open(tmp_path / "a.png") as picture:
        # Two clips of two rows of eight poses, and none of it blank.
        assert picture.width > 300
        assert picture.height > 1000
        assert len(picture.convert("L").getcolors()) > 20
    with Image.open(tmp_path / "a.gif") as film:
        # 30 frames at 30 a second are a second: 20 pictures of 50 ms.
        assert film.n_frames == 20
        assert film.info["duration"] == 50
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a.gif"}


def test_a_clip_of_one_frame_whose_name_looks_like_a_formula(run, tmp_path):
    """It is drawn all the same, and its name as it is."""
    root = write_data(tmp_path / "data", {"val": [1]})
    (root / "val" / "clip00").rename(root / "val" / "a$_{b$")
    for name in ("a.png", "a.gif"):
        words = ["--checkpoint", str(run), "--data", str(root), "--out", str(tmp_path / name)]
        assert reconstruct.main(words) == 0


def test_the_error_drawn_is_the_error_measured(run):
    """The MPJPE of the title is that of evaluate on that clip."""
    from trainers.rvq.evaluate import evaluate

    trained = load(run)
    clips = open_for(trained, None, "val")
    pairs = reconstruct.reconstruct(trained, clips, clips.source.names, CPU)
    frames = sum(len(pair.errors) for pair in pairs)
    mean = sum(float(pair.errors.sum()) for pair in pairs) / frames

    assert mean == pytest.approx(evaluate(run).score.mpjpe, rel=1e-5)


def test_sides_are_told_by_names():
    """Left and right have colours of their own, and the body is seen from its front."""
    bones = bones_of(MIRRORED)
    names = [MIRRORED.joints[j] for j in MIRRORED.moving]
    pairs = {(names[left], names[right]) for left, right in bones.sides}

    assert pairs == {("Arm_L", "Arm_R"), ("Hand_L", "Hand_R")}
    assert len(set(bones.colours)) == 3


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--out", "a.jpg"], "not a .png, .gif or .mp4"),
        (["--out", "a.png", "--clip", "clip2"], "has no clip clip2; the nearest is clip02"),
        (["--out", "a.png", "--split", "test"], "has no split test"),
    ],
)
def test_what_cannot_be_drawn_is_said(run, flags, sentence):
    """With what would do."""
    with pytest.raises(TrainerError, match=sentence):
        reconstruct.main(["--checkpoint", str(run), *flags])


def test_no_skeleton_no_picture(tmp_path):
    """Joints have no place without one."""
    root = write_data(tmp_path / "d", {"train": [20], "val": [20]}, joints=6, skeleton=None)
    train(small_config(tmp_path / "run", root, loop={"total_iter": 1}))
    with pytest.raises(TrainerError, match="has no skeleton to draw"):
        reconstruct.main(["--checkpoint", str(tmp_path / "run"), "--out", str(tmp_path / "a.png")])


def test_a_description_by_hand(tmp_path):
    """Parameters, multiplications and bits, counted as on paper."""
    config = small_config(tmp_path, "synthetic", dataset={"max_samples": 2, "window_size": 16})
    found = describe.describe(config, "mine")
    width, features, code, seconds = 16, 156, 8, 64 * 4 / 30

    def conv(inward, outward, kernel, frames):
        return 2 * inward * outward * kernel * frames

    frames = [256, 128, 64]  # of the clip that is counted, at each scale
    blocks = sum(2 * (conv(width, width, 3, t) + conv(width, width, 1, t)) for t in frames[1:])
    encoder = (
        conv(features, width, 3, 256)
        + sum(conv(width, width, 4, t) for t in frames[1:])
        + blocks
        + conv(width, code, 3, 64)
    )
    assert found.flops_per_s["encoder"] * seconds == pytest.approx(encoder)
    assert found.flops_per_s["quantizer"] * seconds == pytest.approx(3 * 2 * 64 * 16 * code)
    assert found.parameters["quantizer"] == 3 * 16 * code
    assert found.bits_per_token == 12
    assert found.bits_per_s == 12 * 30 / 4
    assert found.ratio == pytest.approx(52 * 3 * 32 * 30 / 90)
    forward = sum(found.flops_per_s.values()) * 4 * 16 / 30
    assert 2 * forward < found.step_flops < 3 * forward
    assert found.step_bytes["parameters"] >= 4 * found.parameters["encoder"]


def test_a_run_is_described_though_its_data_is_gone(run, tmp_path, capsys):
    """By its own joints and rate: nothing is assumed that the model knows."""
    describe.main(["--checkpoint", str(run), "--json"])
    here = json.loads(capsys.readouterr().out)
    (run.parent / "data").rename(tmp_path / "moved")
    describe.main(["--checkpoint", str(run), "--json"])
    gone = json.loads(capsys.readouterr().out)
    (tmp_path / "moved").rename(run.parent / "data")

    assert "is not here" in gone["assumed"]
    for name in ("joints", "features", "fps", "parameters", "flops_per_s", "ratio"):
        assert gone[name] == here[name], name


def test_a_run_is_described_by_its_own_settings(run, capsys):
    """Its checkpoint's, whatever the presets say; as tables and as JSON."""
    describe.main(["--checkpoint", str(run)])
    shown = capsys.readouterr().out
    describe.main(["--checkpoint", str(run), "--json"])
    told = json.loads(capsys.readouterr().out)

    assert "7 joints in 42 features a frame, 4 frames a token" in shown
    assert "90 bits a second" in shown
    assert told["features"] == 42
    assert told["parameters"]["quantizer"] == 3 * 16 * 8
