"""A small recogniser of signs: what it reads in generated poses says whether they can be read.

It is trained on the training split by connectionist temporal classification (Graves and others
2006): convolutions that see about two seconds around a frame, so that it reads what is signed
there and does not guess from the rest of the sentence.

Shapes: B sentences, T frames, S = ceil(T / 2) steps, V = 150 values, W width, U units, K languages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from trainers.engine.batches import BatchPlan, length_buckets
from trainers.engine.masked import pad
from trainers.signllm.skeleton import COUNT, VALUES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trainers.engine.statistics import Statistics
    from trainers.signllm.sentences.corpus import Corpus, Sentence

    Values = NDArray[np.floating[Any]]

WIDTH = 64
DILATIONS = (1, 2, 4)
BATCH = 16
READ_FRAMES = 4096  # of a batch that is read
LEAST_STEPS, MOST_STEPS = 600, 6000  # of training
PASSES = 16  # over the sentences, if that many steps are enough for it
LEARNING_RATE = 3e-3
NOISE = 0.1  # in deviations, on the values while training
GAPS, GAP = 0.03, 8  # while training, a gap of so many frames begins at so many of all frames
SMOOTHEST = 7  # frames: of the widest mean that frames are smoothed by while training
BLANK = 0  # the unit of CTC that stands for none
WORDS_A_TEXT = 1.5  # texts of fewer words on average are read by character


def choose_units(sentences: Sequence[Sentence]) -> dict[str, str]:
    """Choose for each language what is read: its glosses, else words, else characters.

    Characters are for texts of one word, which are spelled, and for scripts without spaces.
    """
    chosen = {}
    for language in sorted({one.language for one in sentences}):
        own = [one for one in sentences if one.language == language]
        words = np.mean([len(_pieces(one.text, r"\w+")) for one in own])
        by_text = "words" if words >= WORDS_A_TEXT else "characters"
        chosen[language] = "gloss" if any(one.gloss for one in own) else by_text
    return chosen


def units_of(sentence: Sentence, units: str) -> tuple[str, ...]:
    """Return what must be read in a sentence; nothing if its glosses are not known."""
    if units == "gloss":
        return sentence.gloss or ()
    return _pieces(sentence.text, r"\w+" if units == "words" else r"\w")


def _pieces(text: str, pattern: str) -> tuple[str, ...]:
    return tuple(re.findall(pattern, text.casefold()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What was read in N sentences."""

    units: list[tuple[str, ...]]
    languages: list[str]
    pooled: NDArray[np.float32]  # (N, W) features of the whole sentence, each of length 1


class Recogniser(nn.Module):
    """The network, and what its numbers mean."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, units: dict[str, str], vocabulary: Sequence[str], languages: Sequence[str]
    ) -> None:
        super().__init__()
        self.units = dict(units)
        self.vocabulary, self.languages = tuple(vocabulary), tuple(languages)
        self.register_buffer("mean", torch.zeros(VALUES))
        self.register_buffer("std", torch.ones(VALUES))
        self.inward = nn.Linear(VALUES + COUNT, WIDTH)
        self.halve = nn.Conv1d(WIDTH, WIDTH, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList(_Block(dilation) for dilation in DILATIONS)
        self.norm = nn.LayerNorm(WIDTH)
        self.read_units = nn.Linear(WIDTH, len(self.vocabulary) + 1)
        self.read_language = nn.Linear(WIDTH, len(self.languages))

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, V + J) and (B, T) -> states (B, S, W), zero behind the end, and (B, S).

        A sentence's states do not depend on those that it shares a batch with.
        """
        x = F.gelu(self.inward(values)) * mask[..., None]
        steps = mask[:, ::2]
        x = F.gelu(self.halve(x.mT).mT) * steps[..., None]
        for block in self.blocks:
            x = block(x, steps[..., None])
        return self.norm(x) * steps[..., None], steps

    def prepare(self, poses_TV: Values) -> NDArray[np.float32]:
        """(T, V) -> (T, V + J) normalised values, 0 if not seen, and whether a joint was seen."""
        seen = np.isfinite(poses_TV)
        values = np.where(seen, (poses_TV - self.mean.numpy()) / self.std.numpy(), 0)
        return np.concatenate([values, seen[:, ::3]], axis=1, dtype=np.float32)

    @torch.inference_mode()
    def read(self, sentences: Sequence[Values]) -> Readings:
        """Read sentences, each of poses (T, V) with NaN for joints that were not seen."""
        self.eval()
        units: list[tuple[str, ...]] = [()] * len(sentences)
        languages = [""] * len(sentences)
        pooled = np.zeros((len(sentences), WIDTH), dtype=np.float32)
        for rows in _by_length([len(poses) for poses in sentences]):
            states, steps = self(*_batch([self.prepare(sentences[row]) for row in rows]))
            means = pool(states, steps)
            of_steps = self.read_language(states).log_softmax(-1) * steps[..., None]
            spoken = pool(of_steps, steps).argmax(-1).tolist()
            best = self.read_units(states).argmax(-1).masked_fill(~steps, BLANK).tolist()
            for row, numbers, mean, language in zip(rows, best, means, spoken, strict=True):
                units[row] = tuple(self.vocabulary[number - 1] for number in _collapse(numbers))
                languages[row] = self.languages[language]
                pooled[row] = F.normalize(mean, dim=0).numpy()
        return Readings(units=units, languages=languages, pooled=pooled)


class _Block(nn.Module):
    """A convolution over neighbouring steps, added to what came in."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.conv = nn.Conv1d(WIDTH, WIDTH, 5, padding=2 * dilation, dilation=dilation)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, S, W) and (B, S, 1) -> (B, S, W), zero behind the end."""
        mixed = self.conv((self.norm(x) * mask).mT).mT
        result: Tensor = (x + self.dropout(F.gelu(mixed))) * mask
        return result


def pool(states: Tensor, steps: Tensor) -> Tensor:
    """(B, S, W) and (B, S) -> (B, W) means over the steps that are there."""
    return states.sum(1) / steps.sum(1, keepdim=True).clamp_min(1)


def train_recogniser(corpus: Corpus, statistics: Statistics, seed: int = 0) -> Recogniser:
    """Train on a corpus; the same corpus and seed give the same recogniser. On the CPU."""
    sentences = corpus.sentences
    units = choose_units(sentences)
    targets = [units_of(one, units[one.language]) for one in sentences]
    vocabulary = sorted({unit for target in targets for unit in target})
    numbers = {unit: number for number, unit in enumerate(vocabulary, start=1)}
    languages = corpus.languages
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Recogniser(units, vocabulary, languages)
        model.mean.copy_(torch.from_numpy(statistics.mean))
        model.std.copy_(torch.from_numpy(statistics.std))
        _fit(
            model.train(),
            [model.prepare(corpus.poses(row)) for row in range(len(corpus))],
            [
                torch.tensor([numbers[unit] for unit in target], dtype=torch.long)
                for target in targets
            ],
            torch.tensor([languages.index(one.language) for one in sentences]),
            seed,
        )
    return model.eval()


def _fit(
    model: Recogniser,
    values: list[NDArray[np.float32]],
    targets: list[Tensor],
    languages: Tensor,
    seed: int,
) -> None:
    lengths = length_buckets(np.array([len(one) for one in values]), BATCH)
    size = min(BATCH, len(values))
    plan = BatchPlan(lengths=lengths, batch_size=size, world_size=1, seed=seed)
    total = min(MOST_STEPS, max(LEAST_STEPS, PASSES * plan.per_epoch))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total)
    for step in range(total):
        epoch, place = divmod(step, plan.per_epoch)
        if place == 0:
            batches = plan.batches(epoch)
        rows = batches[place]
        given, mask = _batch([values[row] for row in rows])
        given = _varied(given)
        states, steps = model(given, mask)
        wanted = [targets[row] for row in rows]
        reading = F.ctc_loss(
            model.read_units(states).log_softmax(-1).transpose(0, 1),
            torch.cat(wanted),
            steps.sum(1),
            torch.tensor([len(one) for one in wanted]),
            blank=BLANK,
            zero_infinity=True,
        )
        # Each step must tell the language: a whole sentence is learned by heart too easily.
        spoken = F.cross_entropy(
            model.read_language(states[steps]), languages[rows, None].expand(steps.shape)[steps]
        )
        optimizer.zero_grad()
        (reading + spoken).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def _varied(given: Tensor) -> Tensor:
    """Training input (B, T, V + J) as a generator might give it; each change for half of it.

    A model that generates poses gives every joint, those too that no one taught it: so joints that
    were not seen are made up. And what takes a few frames alone, such as how a hand comes up to a
    sign, may be softer than in the recordings: so frames are smoothed, and gaps are cut into them
    and bridged by a straight line. The recogniser must then read what is held as well, and not
    just a moment that happens to be typical of one recording.
    """
    values, seen = given.split((VALUES, COUNT), dim=-1)
    made_up = (torch.rand(len(given), 1, 1) < 0.5) & (seen == 0)
    places = torch.randn(len(given), 1, VALUES).expand_as(values)
    values = torch.where(made_up.repeat_interleave(3, dim=-1), places, values)
    values = torch.where(torch.rand(len(given), 1, 1) < 0.5, _bridged(values), values)
    values = torch.where(torch.rand(len(given), 1, 1) < 0.5, _smoothed(values), values)
    values = values + NOISE * torch.randn(values.shape)
    return torch.cat([values, seen.masked_fill(made_up, 1)], dim=-1)


def _bridged(values: Tensor) -> Tensor:
    """(B, T, V) with straight lines across gaps."""
    count = values.shape[1]
    begins = (torch.rand(values.shape[:2]) < GAPS).float()
    kept = F.max_pool1d(F.pad(begins, (GAP - 1, 0)), GAP, stride=1) == 0
    kept[:, 0] = kept[:, -1] = True
    places = torch.arange(count).expand_as(kept)
    before = places.masked_fill(~kept, 0).cummax(1).values
    after = places.masked_fill(~kept, count).flip(1).cummin(1).values.flip(1)
    share = ((places - before) / (after - before).clamp_min(1))[..., None]

    def at(frames: Tensor) -> Tensor:
        return values.gather(1, frames[..., None].expand_as(values))

    return torch.lerp(at(before), at(after), share)


def _smoothed(values: Tensor) -> Tensor:
    """(B, T, V) means over a few frames."""
    reach = int(torch.randint(1, SMOOTHEST // 2 + 1, ()))
    return F.avg_pool1d(
        values.mT, 2 * reach + 1, stride=1, padding=reach, count_include_pad=False
    ).mT


def _batch(values: list[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    longest = max(map(len, values))
    padded, mask = pad(values, longest)
    return padded, torch.ones(padded.shape[:2], dtype=torch.bool) if mask is None else mask


def _by_length(lengths: list[int]) -> list[list[int]]:
    """Rows in batches of nearby lengths."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not batches or (len(batches[-1]) + 1) * lengths[row] > READ_FRAMES:
            batches.append([])
        batches[-1].append(row)
    return batches


def _collapse(numbers: list[int]) -> list[int]:
    """Return the units of the best path: repeats are one, blanks are none."""
    kept = [b for a, b in zip([BLANK, *numbers], numbers, strict=False) if a != b]
    return [number for number in kept if number != BLANK]
