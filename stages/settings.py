"""Settings of params.yaml, which names what it lacks."""

from pathlib import Path

import yaml

from stages.errors import StageError

PARAMS = Path("params.yaml")
REPLAN = "write the file again with python -m stages.plan"


class Settings(dict):
    """Settings that say where they are from when one is missing.

    Attributes:
        place: such as ``params.yaml: cells.KEY``.
    """

    place: str

    @classmethod
    def of(cls, values: dict, place: str) -> "Settings":
        """The same, nested ones too."""
        settings = cls(
            (name, cls.of(value, f"{place}.{name}") if type(value) is dict else value)
            for name, value in values.items()
        )
        settings.place = place
        return settings

    def __missing__(self, name: str) -> None:
        raise StageError(f"{self.place} has no {name!r}; {REPLAN}")


def load_yaml(path: Path) -> object:
    """Read YAML as ``yaml.safe_load`` does, by the C library: three times as fast."""
    return yaml.load(path.read_text(), yaml.CSafeLoader)


def read_params(section: str, path: Path = PARAMS) -> Settings:
    """One section of params.yaml: name -> settings.

    Raises:
        StageError: the file is missing or unreadable, or the section is not of that
            form.
    """
    try:
        params = load_yaml(path)
    except FileNotFoundError:
        raise StageError(
            f"{path} not found: run from the repository's top folder, "
            "or write it with python -m stages.plan"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StageError(f"{path} is not valid YAML: {error}; {REPLAN}") from None
    items = params.get(section) if isinstance(params, dict) else None
    items = {} if items is None else items
    if not isinstance(items, dict):
        raise StageError(f"{path}: {section!r} is not a mapping; {REPLAN}")
    for name, settings in items.items():
        if not isinstance(settings, dict):
            raise StageError(f"{path}: {section}.{name} is not a mapping; {REPLAN}")
    return Settings.of(items, f"{path}: {section}")


def load_params(section: str, key: str, path: Path = PARAMS) -> Settings:
    """Settings of one item of params.yaml, for instance ``("cells", key)``.

    Raises:
        StageError: the file is missing or unreadable, or does not hold the item.
    """
    items = read_params(section, path)
    if key not in items:
        known = ", ".join(items) or "none"
        raise StageError(f"{path}: no {key!r} under {section!r}; it has: {known}")
    return items[key]
