"""Stores of upscaled persons, and the networks that upscale them."""

import re
from pathlib import Path

from plugins.sizes import parse_size
from stages.files import StageError

NO_WEIGHTS = "stages/upscale/resample.py"
"""What an upscaling without a network depends on in place of weights."""
SHOWN = ("upscale", "test_upscale", "upscale_to", "upscale_weights")
"""Choices that a key shows by the names of stores."""
TRAINING = ("network", "training")
"""Settings that the training of an upscaler reads, and upscaling itself does not."""

Items = dict[str, dict[str, dict]]
"""Section of params.yaml -> name -> settings."""


def name_upscaling(upscale: dict) -> str:
    """What an upscaling is called in keys and tables; weights are named by their file.

    Raises:
        StageError: there are no weights.
    """
    if upscale["name"] != "spandrel":
        return upscale["name"]
    weights = upscale["weights"]
    if not weights or not Path(weights).is_file():
        raise StageError(
            f"upscale=spandrel: upscale_weights={weights}: expected a file of weights"
        )
    stem = re.sub(r"\W+", "_", Path(weights).stem)
    return f"spandrel_{stem}"


def find_stores(
    low: str, camera: dict, upscale: dict, extras: list[str]
) -> tuple[str, Items]:
    """Name of the store that a cell reads, and all items that it is made by.

    Args:
        low: name of the store at the size of the camera.
        camera: settings of that store.
        upscale: settings of the upscaling.
        extras: parts of a key that stand for changed settings of the upscaling.

    Raises:
        StageError: the sizes or the camera do not go together with upscaling.
    """
    name = name_upscaling(upscale)
    if name == "none":
        return low, {"stores": {low: camera}}
    factor = find_factor(camera, upscale["to"])
    sharp = f"{low}-sharp-{upscale['to']}"
    sharp_item = {sharp: camera | {"oversample": factor, "as_input": True}}
    if name == "sharp":
        return sharp, {"stores": sharp_item}
    store = "-".join([low, name, *extras, upscale["to"]])
    item = {"data": camera["data"], "store": low}
    item |= {key: value for key, value in upscale.items() if key not in TRAINING}
    items = {"stores": {low: camera}, "upscaled": {store: item}}
    if "training" in upscale:
        network = f"super_resolution-{store}"
        pair = {"low": low, "sharp": sharp, "factor": factor}
        settings = {key: upscale[key] for key in TRAINING}
        items["super_resolution"] = {network: pair | settings}
        items["stores"] |= sharp_item
        item["weights"] = f"runs/{network}/checkpoint.pth"
    item.setdefault("weights", NO_WEIGHTS)
    return store, items


def find_detections(low: str, store: str, items: Items) -> tuple[str, Items]:
    """The same crops in detected boxes: name of their store, and what makes it.

    Args:
        low, store, items: as ``find_stores`` takes and gives them.
    """
    name, boxes = f"{store}-detections", {"boxes": "detections"}
    if store in items["stores"]:
        return name, {"stores": {name: items["stores"][store] | boxes}}
    source = f"{low}-detections"
    upscaled = items["upscaled"][store] | {"store": source}
    stores = {source: items["stores"][low] | boxes}
    return name, {"stores": stores, "upscaled": {name: upscaled}}


def find_factor(camera: dict, to: str) -> int:
    """Pixels along each axis that one pixel becomes.

    Raises:
        StageError: not a whole number above 1, the same along both axes; or the camera
            has finer pixels than the network sees.
    """
    (width, height), (wide, tall) = parse_size(camera["size"]), parse_size(to)
    factor = wide // width
    if factor < 2 or (wide, tall) != (factor * width, factor * height):
        raise StageError(
            f"upscale_to={to}: expected a whole multiple of size={camera['size']}, the "
            "same along both axes"
        )
    if camera["oversample"] != 1:
        raise StageError(
            f"store.oversample={camera['oversample']}: expected 1 where persons are "
            "upscaled"
        )
    return factor


def make_transfer(key: str, cell: dict, name: str, store: str) -> tuple[str, dict]:
    """The evaluation of a cell on persons upscaled otherwise than it was trained on.

    Args:
        name: of the other upscaling; store: its persons.

    Returns:
        its key, and its item of ``transfers``.

    Raises:
        StageError: the cell reads persons of another size.
    """
    if "none" in (cell["upscale"], name):
        raise StageError(
            f"test_upscale={name}: a network trained with upscale={cell['upscale']} "
            "reads persons of another size; expected two upscalings"
        )
    kept = {k: value for k, value in cell.items() if k != "init"}
    front, _, seed = key.rpartition("-")
    return f"{front}-test_{name}-{seed}", kept | {
        "store": store, "test_upscale": name, "trained": key,
    }  # fmt: skip
