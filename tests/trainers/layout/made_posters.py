"""Folders of posters as the guide's users have them."""

import json

import numpy as np
from PIL import Image

LAYERS = (
    {"x": 0, "y": 0, "w": 400, "h": 300, "order": 0, "category": "picture"},
    {"x": 40, "y": 320, "w": 200, "h": 60, "order": 2, "category": "title"},
    {"x": 40, "y": 400, "w": 200, "h": 100, "order": 1, "category": "text"},
)
CANVAS = {"width": 400, "height": 600}


def image(path, size=(8, 6), mode="RGBA", seed=0):
    """An image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], len(mode)), np.uint8)
    Image.fromarray(noise, mode).save(path)


def poster(folder, layers=LAYERS, canvas=CANVAS, *, pictured=True, **document):
    """A poster; each layer gets an image of its own unless it names one, or none are wanted."""
    (folder / "json").mkdir(parents=True)
    written = []
    for number, layer in enumerate(layers):
        one = dict(layer)
        if pictured and "src" not in one:
            image(folder / "parse" / f"{number}.png", seed=number)
            one["files"] = {"layer": f"output/parse/{number}.png"}
        written.append(one)
    document = {"canvas_size": canvas, "layers": written} | document
    path = folder / "json" / f"{folder.name}_parse_data.json"
    path.write_text(json.dumps({k: v for k, v in document.items() if v is not None}))
    return folder


def posters(root, *names, **changes):
    """Some posters that are alike."""
    for name in names:
        poster(root / name, **changes)
    return root
