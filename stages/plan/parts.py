"""What a cell is made of: modules and checkpoints that DVC has to watch."""

from pathlib import Path

from stages.files import StageError
from stages.plan.compose import CONF

NO_START = "plugins/hooks/start.py"
"""What a cell from scratch depends on in place of a checkpoint."""
NO_DETECTIONS = "stages/prepare/detections.py"
"""The same in place of a file of detected boxes."""
NO_BOXES = "stages/evaluate/detections.py"
"""The same in place of a store of their crops."""
NO_AUXILIARY = "plugins/losses/common/objective.py"


def find_code(settings: dict) -> dict[str, str]:
    """Module or package of each of a cell's parts, which DVC watches.

    Raises:
        StageError: a part has a name for which there is none.
    """
    method, auxiliary = settings["method"], settings["auxiliary"]["name"]
    named = {
        "codec": f"plugins/codecs/{method['codec']['name']}",
        "head": f"plugins/heads/{method['head']['name']}",
        "loss": f"plugins/losses/{method['loss']['name']}",
        "backbone": f"plugins/backbones/{settings['backbone']['network']['name']}",
    }
    if auxiliary != "none":
        named["auxiliary"] = f"plugins/losses/{auxiliary}"
    code = {"auxiliary": NO_AUXILIARY}
    for part, name in named.items():
        places = [
            path for path in (f"{name}.py", name) if (CONF.parent / path).exists()
        ]
        if not places:
            raise StageError(f"{part} {Path(name).name!r}: expected {name}.py")
        code[part] = places[0]
    return code


def find_starts(cells: dict) -> None:
    """Fill in what each cell starts from: a folder of ``runs``, or a file.

    Raises:
        StageError: it is neither a cell of this plan nor a file.
    """
    for key, cell in cells.items():
        start = cell["train"]["init"]["from"]
        if start in cells:
            cell["init"] = f"runs/{start}"
        elif start != "none":
            if not Path(start).is_file():
                raise StageError(
                    f"{key}: init={start}: expected the key of a cell of this plan, or "
                    "a file"
                )
            cell["init"] = start
