"""Write results/codecs alone: ``python -m stages.compare.codec_report``.

The oracle errors need no finished cell.
"""

from pathlib import Path

from stages.compare.codec_report.report import write_report
from stages.compare.rows import collect
from stages.files import run_stage


def main(root: Path = Path(".")) -> None:
    """Write the codec report of the cells that params.yaml names."""
    write_report(collect(root), root / "results" / "codecs")


if __name__ == "__main__":
    run_stage(main)
