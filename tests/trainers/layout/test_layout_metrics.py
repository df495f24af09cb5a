"""Figures of boxes against numbers worked by hand, and answers that need no training."""

from math import log, sqrt

import numpy as np
import pytest
from made_layouts import layout

from trainers.layout.layouts.corpus import Corpus
from trainers.layout.layouts.layout import Layout
from trainers.layout.layouts.snap import snap
from trainers.layout.metrics import sets
from trainers.layout.metrics.baselines import Baselines, box_shares
from trainers.layout.metrics.boxes import alignment, doc_sim, iou, matched_iou, overlap
from trainers.layout.metrics.sets import max_iou

# Left, top, width, height: a square, one moved by half, one that touches neither.
SQUARE, MOVED, FAR = (0.0, 0.0, 0.4, 0.4), (0.2, 0.2, 0.4, 0.4), (0.7, 0.75, 0.2, 0.1)


def test_iou_worked_by_hand():
    """A quarter of each is shared: 0.04 of 0.28."""
    found = iou(np.array([SQUARE]), np.array([SQUARE, MOVED, FAR]))

    assert found.tolist() == [[1.0, pytest.approx(0.04 / 0.28), 0.0]]


def test_elements_of_one_kind_may_change_places():
    """Those of another may not."""
    truth, swapped = np.array([SQUARE, FAR]), np.array([FAR, SQUARE])

    assert matched_iou(swapped, truth, ["text", "text"]) == pytest.approx(1)
    assert matched_iou(swapped, truth, ["text", "logo"]) == 0
    assert matched_iou(np.array([SQUARE, MOVED]), truth, ["text", "text"]) == pytest.approx(0.5)


def test_overlap_worked_by_hand():
    """A quarter of each of two is covered, nothing of the third: two quarters over three."""
    assert overlap(np.array([SQUARE, MOVED, FAR])) == pytest.approx(0.5 / 3)
    assert overlap(np.array([SQUARE])) == 0
    apart = [(0.1 * i, 0.3, 0.07, 0.1 / 3) for i in range(10)]
    assert str(overlap(np.array(apart))) == "0.0"  # and nothing left by rounding


def test_alignment_worked_by_hand():
    """The nearest edges or centres of the first two lie 0.2 apart, of the third 0.1."""
    boxes = np.array([SQUARE, MOVED, FAR])
    # horizontally 0 .2 .4 | .2 .4 .6 | .7 .8 .9 as left, centre, right: like is compared with like
    assert alignment(boxes[:2]) == pytest.approx(-100 * log(0.8))
    # of the third, the right edge is 0.3 from the second's and the bottom 0.25
    assert alignment(boxes) == pytest.approx(-100 * (2 * log(0.8) + log(1 - 0.25)) / 3)
    assert alignment(np.array([SQUARE, (0.0, 0.7, 0.1, 0.1)])) == 0
    assert alignment(boxes[:1]) == 0


def test_doc_sim_worked_by_hand():
    """The root of the smaller area, halved for each unit of distance and each half of size."""
    moved = 0.4 * 2 ** -sqrt(0.08)

    assert doc_sim(np.array([MOVED]), np.array([SQUARE]), ["a"]) == pytest.approx(moved)
    assert doc_sim(np.array([SQUARE]), np.array([SQUARE]), ["a"]) == pytest.approx(0.4)


def test_a_set_is_dealt_out_as_well_as_can_be():
    """Among layouts of the same categories, in whatever order a layout has them."""
    truth = [np.array([SQUARE, FAR]), np.array([FAR, MOVED]), np.array([SQUARE])]
    categories = [["logo", "text"], ["text", "logo"], ["logo"]]
    # The first is the second one's truth: a logo at MOVED, a text at FAR; and the other way round.
    swapped = [np.array([MOVED, FAR]), np.array([FAR, SQUARE]), np.array([MOVED])]

    assert max_iou(truth, truth, categories) == pytest.approx(1)
    assert max_iou(swapped, truth, categories) == pytest.approx((1 + 1 + 0.04 / 0.28) / 3)
    apart = [["logo", "text"], ["text", "button"], ["logo"]]
    alone = (1 + 0.04 / 0.28) / 2
    assert max_iou(swapped, truth, apart) == pytest.approx((2 * alone + 0.04 / 0.28) / 3)
    assert max_iou([], [], []) == 0


def test_a_large_set_is_dealt_out_in_parts(monkeypatch):
    """Each layout within its own part."""
    monkeypatch.setattr(sets, "MOST", 1)
    boxes = [np.array([SQUARE]), np.array([MOVED])]

    assert max_iou(boxes[::-1], boxes, [["a"], ["a"]]) == pytest.approx(0.04 / 0.28)


def test_what_nearly_aligns_is_snapped():
    """To the larger element, by the nearest pair; what is far, or would leave the canvas, stays."""
    boxes = np.array(
        [[100, 0, 500, 200], [112, 300, 100, 50], [395, 500, 100, 50], [700, 10, 9, 9]]
    )

    found = snap(boxes, (1000, 1000))

    assert found[:, 0].tolist() == [100, 100, 395, 700]
    assert found[:, 2:].tolist() == boxes[:, 2:].tolist()
    assert found[3].tolist() == [700, 0, 9, 9]


def test_an_edge_is_not_snapped_to_a_centre():
    """But to an edge of the other side, as of elements that touch."""
    boxes = np.array([[100, 100, 400, 400], [305, 508, 60, 60]])

    assert snap(boxes, (1000, 1000))[1].tolist() == [305, 500, 60, 60]


def test_the_nearest_layout_of_itself_is_itself():
    """With sizes and without; the mean keeps true sizes if they are known."""
    layouts = [layout(n, seed, name=f"{n} {seed}") for n in (2, 5, 5, 7) for seed in range(3)]
    known = Baselines(Corpus("made", "train", layouts))

    for one in layouts:
        found = known.nearest(one, sized=True)
        assert matched_iou(found, box_shares(one), one.categories) == pytest.approx(1)
    mean = known.mean(layouts[0], sized=True)
    np.testing.assert_allclose(mean[:, 2:], box_shares(layouts[0])[:, 2:])
    assert (mean[:, :2] + mean[:, 2:] <= 1 + 1e-9).all()


def test_categories_that_were_never_seen_have_an_answer():
    """The mean of all boxes."""
    known = Baselines(Corpus("made", "train", [layout(4)]))
    strange = Layout(
        name="strange",
        canvas=(100, 100),
        boxes=np.array([[0.0, 0.0, 10.0, 10.0]]),
        order=np.zeros(1, dtype=np.int64),
        ids=("a",),
        categories=("unheard of",),
    )

    for answer in (known.mean, known.nearest):
        assert answer(strange, sized=False).shape == (1, 4)
    assert known.random(strange, np.random.default_rng(0), sized=False).shape == (1, 4)
