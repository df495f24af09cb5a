"""The import of pages with boxes: COCO JSON and the images of the pages."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_posters import image
from PIL import Image

from trainers.engine.errors import TrainerError
from trainers.layout.config import DatasetConfig
from trainers.layout.importers.coco import import_coco, main
from trainers.layout.layouts.reading import open_corpus

BOXES = ([10.0, 10.0, 20.0, 5.0], [5.4, 30.0, 40.2, 20.0], [40.0, 70.0, 30.0, 30.0])


def pages(folder, *names, json_name="samples.json", size=(60, 80), boxes=BOXES):
    """Pages of noise with elements."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "info": {"ignored": True},
        "categories": [{"id": 1, "name": "title"}, {"id": 4, "name": "figure"}],
        "images": [],
        "annotations": [],
    }
    for number, name in enumerate(names):
        image(folder / name, size=size, mode="RGB", seed=number)
        page = {"id": 100 + number, "file_name": name, "width": 60, "height": 80}
        document["images"].append(page)
        for row, box in enumerate(boxes):
            one = {"image_id": 100 + number, "category_id": (1, 4, 4)[row], "bbox": box}
            document["annotations"].append(one | {"iscrowd": 0})
    path = folder / json_name
    path.write_text(json.dumps(document))
    return path


def test_a_folder_of_pages(tmp_path, capsys):
    """Images are cut from the page; the largest element lies at the back; boxes end at the edge."""
    pages(tmp_path / "src", *(f"page_{number}.png" for number in range(9)))
    main([str(tmp_path / "src"), "--out", str(tmp_path / "out"), "--json"])

    found = json.loads(capsys.readouterr().out)
    assert (found["posters"], found["elements"]) == ({"all": 9}, {"all": 27})
    assert found["categories"] == {"figure": 18, "title": 9}
    assert (found["trimmed"], found["hidden"]) == (9, 0)
    corpus = open_corpus(DatasetConfig(data=str(tmp_path / "out")), "train")
    one = corpus.layouts[0]
    assert one.categories == ("figure", "figure", "title")
    np.testing.assert_allclose(
        one.boxes, [[40, 70, 20, 10], [5.4, 30, 40.2, 20], [10, 10, 20, 5]], rtol=1e-9
    )
    page = np.asarray(Image.open(tmp_path / "src" / f"{one.name}.png").convert("RGBA"))
    images = corpus.images(0)
    np.testing.assert_array_equal(images[2], page[10:15, 10:30])
    np.testing.assert_array_equal(images[1], page[30:50, 5:46])


def test_splits_are_those_of_the_files(tmp_path, capsys):
    """Their images may lie in folders of their own; a file may be imported alone."""
    for split in ("train", "val"):
        path = pages(tmp_path / split, f"{split}_1.png", "same.png", json_name="x.json")
        path.rename(tmp_path / f"{split}.json")
    main([str(tmp_path), "--out", str(tmp_path / "out")])

    assert "categories: 8 figure, 4 title" in capsys.readouterr().out
    for split in ("train", "val"):
        corpus = open_corpus(DatasetConfig(data=str(tmp_path / "out")), split)
        assert [one.name for one in corpus.layouts] == ["same", f"{split}_1"]
    alone = import_coco(tmp_path / "val.json", tmp_path / "alone", max_samples=1)
    assert alone.posters == {"val": 1}


def test_a_page_that_cannot_be_used(tmp_path):
    """Each is named, and nothing is written unless bad ones may be left out."""
    src = tmp_path / "src"
    pages(src, "a.png", "b.png", "c.png", "d.png")
    (src / "b.png").unlink()
    (src / "c.png").write_text("not an image")
    image(src / "d.png", size=(61, 80))

    with pytest.raises(TrainerError) as refused:
        import_coco(src, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["src"]
    message = refused.value.message
    assert "3 files cannot be used, nothing was written" in message
    assert "b.png cannot be read: No such file" in message
    assert "c.png is not an image" in message
    assert "it has 61 x 80 pixels, the JSON says 60 x 80" in message

    found = import_coco(src, tmp_path / "out", skip_bad=True)
    assert (found.posters, len(found.skipped)) == ({"all": 1}, 3)


def test_pages_of_one_name_and_pages_without_elements(tmp_path):
    """Both are named."""
    pages(tmp_path / "src", "x/a.png", "y/a.jpg", json_name="one.json")
    pages(tmp_path / "src", "z.png", json_name="two.json", boxes=[])
    pages(tmp_path / "src", "w.png", json_name="three.json", boxes=[[70, 0, 5, 5], [1, 1, 0, 5]])
    with pytest.raises(TrainerError) as refused:
        import_coco(tmp_path / "src", tmp_path / "out")
    assert "another poster is a already: rename one" in refused.value.message
    assert "z.png: it has no element\n" in refused.value.message + "\n"
    assert "w.png: it has no element on its canvas" in refused.value.message


def test_names_with_folders(tmp_path):
    """Of several images of one name, a page's is that in its folders."""
    src = tmp_path / "src"
    path = pages(src, "one/x.png", "two/x.png", "two/y.png")
    document = json.loads(path.read_text())
    for page in document["images"]:
        page["file_name"] = "C:\\data\\" + page["file_name"].replace("/", "\\")
    path.write_text(json.dumps(document))
    found = import_coco(src, tmp_path / "out", skip_bad=True)
    assert list(found.skipped.values()) == ["another poster is x already: rename one"]
    assert list(found.skipped) == [str(src / "two/x.png")]
    assert found.posters == {"all": 2}


def test_a_page_that_is_listed_twice(tmp_path):
    """Nothing is imported: its boxes in the second list would replace those in the first."""
    path = pages(tmp_path / "src", "a.png", json_name="instances.json")
    path.with_name("keypoints.json").write_text(path.read_text())
    with pytest.raises(TrainerError, match=r"keypoints\.json lists a\.png, .* already") as refused:
        import_coco(tmp_path / "src", tmp_path / "out")
    assert "give one as SRC" in refused.value.hint


def test_a_page_that_is_shown_turned(tmp_path):
    """Sizes and boxes may be of the image as viewers show it: by its EXIF data."""
    pages(tmp_path / "src", "a.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned to the right
    with Image.open(tmp_path / "src/a.jpg") as image:
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "src/a.jpg", exif=exif)
    assert import_coco(tmp_path / "src", tmp_path / "out").posters == {"all": 1}


def test_json_of_another_kind(tmp_path):
    """The part that is missing is named; so are files without a split among others with one."""
    src = tmp_path / "src"
    src.mkdir()
    with pytest.raises(TrainerError, match=r"holds no \*\.json"):
        import_coco(src, tmp_path / "out")
    (src / "x.json").write_text('{"images": []}')
    with pytest.raises(TrainerError, match=r"x\.json is not COCO JSON: categories: Field required"):
        import_coco(src, tmp_path / "out")
    (src / "x.json").write_text("{")
    with pytest.raises(TrainerError, match=r"x\.json is damaged: it is not JSON"):
        import_coco(src, tmp_path / "out")
    with pytest.raises(TrainerError, match=r"gone\.json cannot be read"):
        import_coco(src / "gone.json", tmp_path / "out")
    pages(src, "a.png", json_name="x.json", boxes=[[0, 0, float("nan"), 3]])
    with pytest.raises(TrainerError, match=r"annotations\.0\.bbox\.2: .*finite"):
        import_coco(src, tmp_path / "out")
    pages(src, "a.png", json_name="x.json")
    pages(src, "b.png", json_name="instances_val2017.json")
    with pytest.raises(TrainerError, match="are of a split, and some are not"):
        import_coco(src, tmp_path / "out")
    with pytest.raises(TrainerError, match="--max-samples 0 leaves nothing"):
        import_coco(src / "x.json", tmp_path / "out", max_samples=0)
    (src / "empty.json").write_text('{"images": [], "categories": [], "annotations": []}')
    with pytest.raises(TrainerError, match="no poster could be imported"):
        import_coco(src / "empty.json", tmp_path / "out")
    assert not (tmp_path / "out").exists()
