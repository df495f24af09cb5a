"""Turn codes into clips: `python -m trainers.rvq.decode --checkpoint RUN codes.npz --out FOLDER`.

FOLDER gets the layout of a data set: `<split>/<clip>/pose.npy`, and with a skeleton keypoints.npy
and skeleton.json. The body's place is not coded: the translation joint is at the origin.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from trainers.engine import distributed
from trainers.engine.errors import TrainerError, run_main
from trainers.engine.files import whole_folder
from trainers.engine.verbs import checkpoint_parser
from trainers.motion.kinematics import features_to_axis_angle
from trainers.motion.skeleton import save_skeleton, to_matrices
from trainers.rvq import codes
from trainers.rvq.trained import Trained, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from trainers.motion.skeleton import Skeleton
    from trainers.rvq.codes import Codes


def load_for(path: Path, found: Codes) -> Trained:
    """Load the checkpoint of a run that coded `found`, or the one that `path` names.

    Raises:
        TrainerError: its weights are not those that coded.
    """
    coded_by = path / "checkpoints" / found.about.checkpoint
    trained = load(coded_by if coded_by.is_dir() else path)
    if trained.weights != found.about.weights:
        raise TrainerError(
            f"the codes are of {found.about.run}/{found.about.checkpoint} (weights "
            f"{found.about.weights}), {trained.path} has the weights {trained.weights}",
            "only the weights that coded can decode",
        )
    model, about = trained.model, found.about
    sizes = (model.hop, model.quantizer.num_quantizers, model.quantizer.nb_code)
    values = len(model.mean) / about.joints
    if sizes != (about.hop, about.quantizers, about.nb_code) or values not in (3, 6):
        raise TrainerError(f"the codes say that they are of another model than {trained.path}")
    if about.skeleton is not None and len(about.skeleton) != about.joints:
        count = len(about.skeleton)
        raise TrainerError(
            f"the codes are of {about.joints} joints, and have a skeleton of {count}"
        )
    return trained


@torch.no_grad()
def decode(
    trained: Trained, found: Codes, device: torch.device
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Give each clip's name and pose (T, J*3), axis-angle in radians."""
    model = trained.model.to(device)
    for name, one in found.codes.items():
        tokens = torch.from_numpy(one.astype(np.int64)).to(device)
        features = model.decode(tokens.T[None], found.lengths[name])[0]
        yield name, features_to_axis_angle(features, found.about.joints).cpu().numpy()


def write(folder: Path, pose: NDArray[np.float32], skeleton: Skeleton | None) -> None:
    """Write a clip's folder."""
    folder.mkdir(parents=True)
    np.save(folder / "pose.npy", pose)
    if skeleton is not None:
        placed = skeleton.positions(to_matrices(pose))
        np.save(folder / "keypoints.npy", placed.astype(np.float32))


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    parser = checkpoint_parser("rvq", "decode", "Turn codes into clips.")
    parser.add_argument("codes", type=Path, help="what encode wrote")
    parser.add_argument("--out", type=Path, required=True, help="the data set's folder to make")
    given = parser.parse_args(argv)
    found = codes.read(given.codes)
    about, skeleton = found.about, found.about.skeleton
    trained = load_for(given.checkpoint, found)
    with distributed.world() as world, whole_folder(given.out) as building:
        for name, pose in decode(trained, found, world.device):
            write(building / about.split / name, pose, skeleton)
        if skeleton is not None:
            save_skeleton(skeleton, building)
    sys.stdout.write(
        f"{given.out}/{about.split}: {len(found.codes)} clips, {found.frames:,} frames\n"
    )
    return 0


if __name__ == "__main__":
    run_main(main)
