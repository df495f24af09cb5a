"""Turn clips into codes: `python -m trainers.rvq.encode --checkpoint RUN --out codes.npz`.

Each clip is coded on its own, so that its codes are the same whatever else is coded with it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from trainers.engine import distributed
from trainers.engine.batches import to_device
from trainers.engine.errors import run_main
from trainers.engine.trained import run_folder
from trainers.engine.verbs import add_data_flags, checkpoint_parser
from trainers.rvq.codes import About, Codes, bits_per_token, save
from trainers.rvq.trained import Trained, load, open_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainers.rvq.data import MotionData


@torch.no_grad()
def encode(trained: Trained, clips: MotionData, split: str, device: torch.device) -> Codes:
    """Code every clip of a split by the nearest codes."""
    model = trained.model.to(device)
    quantizer, skeleton = model.quantizer, clips.skeleton
    names = clips.source.names
    codes = {}
    for row, name in enumerate(names):
        batch = to_device(clips.clips(np.array([row])), device)
        codes[name] = model.encode(batch.features)[0].T.cpu().numpy()
    about = About(
        run=run_folder(trained.path).name,
        checkpoint=trained.path.name,
        weights=trained.weights,
        source=clips.source.source,
        split=split,
        fps=clips.source.fps,
        joints=clips.source.joints,
        hop=model.hop,
        quantizers=quantizer.num_quantizers,
        nb_code=quantizer.nb_code,
        skeleton=skeleton if skeleton and not skeleton.approximate else None,
    )
    lengths = dict(zip(names, map(int, clips.source.lengths), strict=True))
    return Codes(about=about, lengths=lengths, codes=codes)


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    parser = checkpoint_parser("rvq", "encode", "Turn the clips of a split into codes.")
    add_data_flags(parser)
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    given = parser.parse_args(argv)
    trained = load(given.checkpoint)
    clips = open_for(trained, given.data, given.split)
    with distributed.world() as world:
        found = encode(trained, clips, given.split or "val", world.device)
    save(found, given.out)
    about, tokens = found.about, sum(one.shape[1] for one in found.codes.values())
    bits = bits_per_token(about.quantizers, about.nb_code) * about.fps / about.hop
    sys.stdout.write(
        f"{given.out}: {len(found.codes)} clips of {about.source}, {found.frames:,} frames, "
        f"as {tokens:,} tokens of {about.quantizers} codes; "
        f"{bits:,.0f} bits a second of motion\n"
    )
    return 0


if __name__ == "__main__":
    run_main(main)
