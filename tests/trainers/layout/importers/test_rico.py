"""The import of screens: trees of bounds, labels and children."""

from __future__ import annotations

import json

import numpy as np
import pytest

from trainers.engine.errors import TrainerError
from trainers.layout.config import DatasetConfig
from trainers.layout.importers.rico import import_rico, main
from trainers.layout.layouts.reading import open_corpus


def node(bounds, label=None, *children):
    """A node of the tree."""
    one = {"bounds": list(bounds), "class": "android.view.View"}
    one |= {"componentLabel": label} if label else {}
    return one | ({"children": list(children)} if children else {})


ROOT = node(
    (0, 0, 1440, 2560),
    None,
    node((0, 84, 1440, 280), "Toolbar", node((10, 90, 110, 190), "Icon")),
    node((0, 280, 1440, 2392), None, node((40, 300, 1400, 500), "Text"), node((0, 0, 9, 9))),
    node((0, 2500, 1440, 2700), "Advertisement"),
    node((50, 50, 50, 80), "Image"),
)


def write(folder, **screens):
    """JSON files."""
    folder.mkdir(exist_ok=True)
    for name, root in screens.items():
        (folder / f"{name}.json").write_text(root if isinstance(root, str) else json.dumps(root))
    return folder


def test_labelled_nodes_are_elements(tmp_path, capsys):
    """From back to front, cut at the edge; those of no area are left out and counted."""
    write(tmp_path / "src", **{f"s{number}": ROOT for number in range(9)})
    main([str(tmp_path / "src"), "--out", str(tmp_path / "out"), "--json"])

    found = json.loads(capsys.readouterr().out)
    assert (found["posters"], found["hidden"], found["trimmed"]) == ({"all": 9}, 9, 9)
    assert found["categories"] == {"Toolbar": 9, "Icon": 9, "Text": 9, "Advertisement": 9}
    corpus = open_corpus(DatasetConfig(data=str(tmp_path / "out")), "train")
    one = corpus.layouts[0]
    assert one.canvas == (1440, 2560)
    assert one.categories == ("Toolbar", "Icon", "Text", "Advertisement")
    wanted = [[0, 84, 1440, 196], [10, 90, 100, 100], [40, 300, 1360, 200], [0, 2500, 1440, 60]]
    np.testing.assert_array_equal(one.boxes, wanted)
    assert not corpus.pictured


def test_the_root_is_the_canvas_wherever_it_lies(tmp_path):
    """And it may lie below `activity`, as in RICO's view hierarchies."""
    root = node((100, 200, 500, 1000), None, node((150, 300, 250, 400), "Text"))
    write(tmp_path / "src", a={"activity": {"root": root}})
    import_rico(tmp_path / "src", tmp_path / "out" / "train")

    one = open_corpus(DatasetConfig(data=str(tmp_path / "out")), "train").layouts[0]
    assert one.canvas == (400, 800)
    np.testing.assert_array_equal(one.boxes, [[50, 100, 100, 100]])


def test_screens_that_cannot_be_used(tmp_path):
    """Each is named; nothing is written unless bad ones may be left out."""
    write(
        tmp_path / "src",
        a=ROOT,
        broken="{",
        list="[1]",
        nothing="null",
        plain=node((0, 0, 9, 9)),
        flat=node((0, 0, 0, 9), "Text"),
        nan='{"bounds": [0, 0, 9, 9], "children": [{"bounds": [0, 0, NaN, 3], '
        '"componentLabel": "x"}]}',
        three=node((0, 0, 9)),
        infinite='{"bounds": [0, 0, Infinity, 9], "componentLabel": "x"}',
        odd={"bounds": [0, 0, 9, 9], "children": "none"},
        vast=node((-1e308, 0, 1e308, 9), "Text"),
    )
    with pytest.raises(TrainerError) as refused:
        import_rico(tmp_path / "src", tmp_path / "out")
    message = refused.value.message
    assert not (tmp_path / "out").exists()
    assert "10 files cannot be used" in message
    tree = "it is not a tree of bounds, componentLabel and children"
    for name, why in {
        "broken": "is damaged: it is not JSON",
        "list": tree,
        "nothing": tree,
        "plain": "no node has a componentLabel",
        "flat": "its canvas has 0 x 9 pixels",
        "nan": tree,
        "three": tree,
        "infinite": tree,
        "odd": tree,
        "vast": tree,
    }.items():
        assert f"{name}.json: {why}" in message

    found = import_rico(tmp_path / "src", tmp_path / "out", skip_bad=True)
    assert (found.posters, len(found.skipped)) == ({"all": 1}, 10)
    again = import_rico(tmp_path / "src", tmp_path / "out", skip_bad=True, force=True)
    assert again.elements == {"all": 4}


def test_nothing_to_import(tmp_path):
    """A folder without JSON, or only screens that are left out."""
    with pytest.raises(TrainerError, match=r"holds no \*\.json"):
        import_rico(tmp_path, tmp_path / "out")
    write(tmp_path / "src", a="{")
    with pytest.raises(TrainerError, match="no poster could be imported"):
        import_rico(tmp_path / "src", tmp_path / "out", skip_bad=True)
