"""Stage prepare: its checks, its source coco_dir, its manifest and the reader of it."""

import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from PIL import Image

from plugins.datasets.keypoint_sets import COCO17
from plugins.datasets.prepared import Entries, open_split
from stages.files import StageError
from stages.prepare import prepare
from stages.prepare.photos import check_photos
from tests.coco_folder import write_coco_folder

TOP = Path(__file__).parent.parent


@dataclass(frozen=True)
class Case:
    """One way to break the first person (id 101, image 1) of a folder's train split.

    Attributes:
        kind: under which strict: false counts it.
        spoil: changes the parsed annotations, or files below the folder.
        says: what the message holds besides file, annotation and remedy.
        entry: how the message names the entry.
        gone: persons of the six that strict: false loses.
    """

    kind: str
    spoil: Callable[[dict, Path], object]
    says: str
    entry: str = "annotation 101"
    gone: int = 1


def set_person(**values) -> Callable[[dict, Path], object]:
    return lambda coco, root: coco["annotations"][0].update(values)


def set_keypoint(index: int, value: object) -> Callable[[dict, Path], object]:
    return lambda coco, root: coco["annotations"][0]["keypoints"].__setitem__(
        index, value
    )


def set_image(**values) -> Callable[[dict, Path], object]:
    return lambda coco, root: coco["images"][0].update(values)


def link_out(coco: dict, root: Path) -> None:
    photo = root / "train/000001.jpg"
    photo.rename(root / "elsewhere.jpg")
    photo.symlink_to(root / "elsewhere.jpg")


def name_absolute(coco: dict, root: Path) -> None:
    coco["images"][0]["file_name"] = str((root / "val/000004.jpg").resolve())


def write_photo(content: bytes | None) -> Callable[[dict, Path], object]:
    """Replace the photo's content; None cuts the photo in half."""

    def spoil(coco: dict, root: Path) -> None:
        photo = root / "train/000001.jpg"
        data = photo.read_bytes()
        photo.write_bytes(data[: len(data) // 2] if content is None else content)

    return spoil


def turn_photo(coco: dict, root: Path) -> None:
    """What a phone does: pixels lie on their side, EXIF says how to turn them."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = root / "train/000001.jpg"
    with Image.open(path) as photo:
        photo.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


def repeat_image(coco: dict, root: Path) -> None:
    coco["images"].append(coco["images"][0] | {"file_name": "other.jpg"})


def repeat_annotation(coco: dict, root: Path) -> None:
    coco["annotations"].append(dict(coco["annotations"][0]))


NAN, INFINITY = float("nan"), float("inf")
OUT = "photo outside the folder"
CASES = {
    "missing photo": Case(
        "missing photo",
        lambda coco, root: (root / "train/000001.jpg").unlink(),
        "000001.jpg",
        gone=2,
    ),
    "photo is a folder": Case("missing photo", set_image(file_name="."), "'.'", gone=2),
    "null byte in name": Case(
        "missing photo", set_image(file_name="a\0b"), "null byte", gone=2
    ),
    "truncated JPEG": Case("unreadable photo", write_photo(None), "truncated", gone=2),
    "empty photo": Case("unreadable photo", write_photo(b""), "none of JPEG", gone=2),
    "text as photo": Case(
        "unreadable photo", write_photo(b"no photo"), "none of JPEG", gone=2
    ),
    "program as photo": Case(
        "unreadable photo",
        write_photo(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 160 120\n"),
        "none of JPEG",
        gone=2,
    ),
    "photo of another size": Case(
        "photo of another size", set_image(width=161), "161 x 120", gone=2
    ),
    "photo turned by EXIF": Case(
        "photo of another size", turn_photo, "EXIF orientation is ignored", gone=2
    ),
    "absolute name": Case(OUT, name_absolute, "000004.jpg", gone=2),
    "name with ..": Case(
        OUT, set_image(file_name="../val/000004.jpg"), "'../val/", gone=2
    ),
    "link out of the folder": Case(OUT, link_out, "link", gone=2),
    "no file name": Case("bad file name", set_image(file_name=7), "is 7", gone=2),
    "no image width": Case("bad image size", set_image(width=None), "None", gone=2),
    "duplicate image id": Case("duplicate image id", repeat_image, "id 1", gone=2),
    "image id a text": Case(
        "bad image id",
        lambda coco, root: coco["images"].append({"id": "1"}),
        "'1'",
        entry="images[3]",
        gone=0,
    ),
    "image entry a number": Case(
        "bad image entry",
        lambda coco, root: coco["images"].append(5),
        "is 5",
        entry="images[3]",
        gone=0,
    ),
    "annotation a list": Case(
        "bad annotation",
        lambda coco, root: coco["annotations"].insert(0, [1]),
        "[1]",
        entry="annotations[0]",
        gone=0,
    ),
    "annotation id a text": Case(
        "bad annotation id", set_person(id="101"), "'101'", entry="annotations[0]"
    ),
    "annotation id 0": Case(
        "bad annotation id", set_person(id=0), "from 1 on", entry="annotation 0"
    ),
    "duplicate annotation id": Case(
        "duplicate annotation id", repeat_annotation, "annotations[6]", gone=0
    ),
    "unknown category": Case("unknown category", set_person(category_id=9), "is 9"),
    "category a list": Case("unknown category", set_person(category_id=[]), "is []"),
    "iscrowd a text": Case("bad iscrowd", set_person(iscrowd="no"), "'no'"),
    "unknown image": Case("annotation without image", set_person(image_id=99), "99"),
    "image id a list": Case("annotation without image", set_person(image_id=[1]), "1"),
    "keypoints too short": Case(
        "keypoints of wrong length", set_person(keypoints=[1, 2, 2] * 16), "48"
    ),
    "no keypoints": Case(
        "keypoints of wrong length", set_person(keypoints=None), "None"
    ),
    "keypoint a text": Case("keypoints not numbers", set_keypoint(0, "12"), "'12'"),
    "keypoint true": Case("keypoints not numbers", set_keypoint(2, True), "True"),
    "keypoint NaN": Case("keypoints not finite", set_keypoint(0, NAN), "nose"),
    "keypoint infinite": Case(
        "keypoints not finite", set_keypoint(1, INFINITY), "nose"
    ),
    "keypoint too large for a float": Case(
        "keypoints not finite", set_keypoint(0, 10**400), "nose"
    ),
    "visibility 3": Case("bad visibility", set_keypoint(2, 3), ", 3)"),
    "no visible keypoint": Case(
        "no visible keypoint", set_person(keypoints=[0] * 51), "labelled"
    ),
    "keypoint far outside": Case(
        "keypoint far outside the image", set_keypoint(0, 1e9), "nose"
    ),
    "box of three": Case("bad box", set_person(bbox=[1, 2, 3]), "[1, 2, 3]"),
    "box of texts": Case("bad box", set_person(bbox=["1", 2, 3, 4]), "['1', 2, 3, 4]"),
    "box NaN": Case("bad box", set_person(bbox=[1, 2, NAN, 4]), "nan"),
    "empty box": Case("empty box", set_person(bbox=[1, 2, 0, 4]), "[1, 2, 0, 4]"),
    "box outside": Case(
        "box outside the image", set_person(bbox=[160, 0, 9, 9]), "160 x 120"
    ),
    "box endless": Case(
        "box outside the image", set_person(bbox=[0, 0, 1e9, 9]), "160 x 120"
    ),
    "area 0": Case("bad area", set_person(area=0), "is 0"),
    "area NaN": Case("bad area", set_person(area=NAN), "is nan"),
    "no area": Case("bad area", set_person(area=None), "is None"),
}


def change(root: Path, spoil: Callable[[dict, Path], object]) -> None:
    path = root / "annotations/train.json"
    coco = json.loads(path.read_text())
    spoil(coco, root)
    path.write_text(json.dumps(coco))


def settings(root: Path, **others) -> dict:
    return {"source": "coco_dir", "root": str(root), "strict": True} | others


def run(folder: Path, item: dict, name: str = "tiny") -> subprocess.CompletedProcess:
    (folder / "params.yaml").write_text(yaml.safe_dump({"data": {name: item}}))
    return subprocess.run(
        [sys.executable, "-m", "stages.prepare", name, "--jobs", "1"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco_folder(tmp_path / "photos")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data/tiny"


@pytest.mark.parametrize("name", CASES)
def test_strict_names_the_entry_and_leaves_nothing(name, root, data):
    case = CASES[name]
    change(root, case.spoil)
    with pytest.raises(StageError) as caught:
        prepare(settings(root), data, jobs=1)
    message = str(caught.value)
    assert message.startswith(f"{root / 'annotations/train.json'}: ")
    assert case.entry in message.splitlines()[0]
    assert case.says in message.splitlines()[0]
    assert "strict: false" in message
    assert "further" not in message
    assert list(data.parent.iterdir()) == []


@pytest.mark.parametrize("name", CASES)
def test_not_strict_skips_and_counts(name, root, data, capsys):
    case = CASES[name]
    change(root, case.spoil)
    part = prepare(settings(root, strict=False), data, jobs=1)["splits"]["train"]
    assert part["skipped"].pop(case.kind) == 1
    part["skipped"].pop("image without a person", None)
    lost = part["skipped"].pop("person on a skipped image", 0)
    assert lost == (2 if case.gone == 2 else 0)
    assert part["skipped"] == {}
    assert part["persons"] == 6 - case.gone
    split = open_split(data, "train")
    assert len(split.coco["annotations"]) == part["persons"]
    used = {person["image_id"] for person in split.coco["annotations"]}
    assert used == {image["id"] for image in split.coco["images"]}
    assert f"skipped 1 x {case.kind}; first: " in capsys.readouterr().err


def test_strict_reports_the_first_and_counts_the_rest(root, data):
    def spoil(coco, root):
        for person in coco["annotations"][1:4]:
            person["area"] = -1
        coco["annotations"][4]["keypoints"] = []

    change(root, spoil)
    with pytest.raises(StageError) as caught:
        prepare(settings(root), data, jobs=1)
    first, further, remedy = str(caught.value).splitlines()
    assert "annotation 102: area is -1" in first
    assert further == "3 further found: 1 x keypoints of wrong length, 2 x bad area."


@pytest.mark.parametrize("name", ["keypoint NaN", "truncated JPEG"])
def test_command_fails_with_one_message(name, root, tmp_path):
    change(root, CASES[name].spoil)
    done = run(tmp_path, settings(root))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {root / 'annotations/train.json'}: ")
    assert "annotation 101" in done.stderr and "Traceback" not in done.stderr
    assert list((tmp_path / "data").iterdir()) == []


def test_command_writes_the_dataset(root, tmp_path):
    done = run(tmp_path, settings("photos", name="tiny"))
    assert done.returncode == 0, done.stderr
    assert "6 persons in 3 photos" in done.stdout
    folder = tmp_path / "data/tiny"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["name"] == "tiny"
    assert manifest["keypoints"] == list(COCO17.names)
    val = manifest["splits"]["val"]
    assert (val["images"], val["persons"]) == (2, 4)
    assert (val["images_root"], val["images_root_is"]) == (
        "photos/val",
        "working folder",
    )
    source = json.loads((root / "annotations/val.json").read_text())
    written = json.loads((folder / val["annotations"]).read_text())
    assert written == source
    assert val["labelled_keypoints"] == sum(
        v > 0 for p in source["annotations"] for v in p["keypoints"][2::3]
    )
    assert sorted(p.name for p in folder.rglob("*") if p.is_file()) == [
        "manifest.json",
        "train.json",
        "val.json",
    ]


def test_name_cannot_leave_the_data_folder(root, tmp_path):
    done = run(tmp_path, settings(root), name="../photos")
    assert done.returncode == 1 and "'../photos'" in done.stderr
    assert (root / "annotations/train.json").exists()


def test_source_is_never_replaced(root):
    with pytest.raises(StageError, match="which this stage replaces"):
        prepare(settings(root), root, jobs=1)
    assert (root / "train/000001.jpg").exists()


def test_what_is_no_error_is_counted(root, data):
    def spoil(coco, root):
        coco["annotations"][0].update(iscrowd=1, keypoints=[0] * 51, area=0)
        coco["annotations"][1].update(num_keypoints=3, area_source="box")
        coco["annotations"][1].pop("iscrowd")
        coco["annotations"][2]["keypoints"][:3] = [-2, 5, 2]
        coco["annotations"][3]["bbox"][0] = -1
        coco["images"].append({"id": 50, "file_name": "x", "width": 1, "height": 1})
        coco["categories"].append({"id": 2, "name": "dog"})
        dog = {"id": 90, "image_id": 1, "category_id": 2, "bbox": [0, 0, 5, 5]}
        coco["annotations"].append(dog)
        coco["annotations"][1]["segmentation"] = [[1, 2, 3, 4, 5, 6]]

    change(root, spoil)
    part = prepare(settings(root), data, jobs=1)["splits"]["train"]
    assert part["skipped"] == {
        "other category": 1,
        "crowd": 1,
        "image without a person": 1,
    }
    assert part["warnings"] == {
        "labelled keypoints outside the image": 1,
        "boxes partly outside the image": 1,
        "num_keypoints corrected": 1,
    }
    person = open_split(data, "train").coco["annotations"][0]
    labelled = sum(v > 0 for v in person["keypoints"][2::3])
    assert (person["id"], person["num_keypoints"]) == (102, labelled)
    assert person["area_source"] == "box" and person["iscrowd"] == 0
    assert "segmentation" not in person


def test_equal_image_entries_are_one(root, data):
    change(root, lambda coco, root: coco["images"].append(coco["images"][0]))
    part = prepare(settings(root, strict=False), data, jobs=1)["splits"]["train"]
    assert part["skipped"] == {"duplicate image id": 1}
    assert (part["images"], part["persons"]) == (3, 6)


def test_photo_in_both_splits_is_counted(root, data):
    photo = (root / "train/000001.jpg").read_bytes()
    (root / "val/000004.jpg").write_bytes(photo)
    manifest = prepare(settings(root), data, jobs=1)
    assert manifest["splits"]["val"]["warnings"] == {"photos that train has too": 1}


def test_exif_orientation_is_ignored_and_counted(root, data):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = root / "train/000001.jpg"
    with Image.open(path) as photo:
        photo.copy().save(path, exif=exif)
    part = prepare(settings(root), data, jobs=1)["splits"]["train"]
    assert part["warnings"] == {"EXIF orientation ignored": 1}


def test_file_names_that_are_no_unicode(root, data):
    """Such as Latin-1's, which Python writes as lone surrogates."""
    name = os.fsdecode(b"jos\xe9.jpg")
    (root / "train/000001.jpg").rename(root / "train" / name)
    change(root, set_image(file_name=name))
    prepare(settings(root), data, jobs=1)
    coco = open_split(data, "train").coco
    assert coco["images"][0]["file_name"] == name
    with Entries(data, "train") as entries:
        assert name in [entry.get("file_name") for _, _, entry in entries.scan()]


def test_no_person_left(root, data):
    def spoil(coco, root):
        for person in coco["annotations"]:
            person["area"] = 0

    change(root, spoil)
    with pytest.raises(StageError, match="no person is left in train.*6 x bad area"):
        prepare(settings(root, strict=False), data, jobs=1)
    assert list(data.parent.iterdir()) == []


def set_names(names: list) -> Callable[[dict, Path], object]:
    return lambda coco, root: coco["categories"][0].update(keypoints=names)


FILES = {
    "no list of images": (lambda c, r: c.pop("images"), "no list 'images'"),
    "images an object": (lambda c, r: c.update(images={}), "no list 'images'"),
    "no keypoints": (set_names([]), "0 categories have keypoints"),
    "two with keypoints": (
        lambda c, r: c["categories"].append(dict(c["categories"][0], id=2)),
        "2 categories have keypoints",
    ),
    "16 names": (set_names(list(COCO17.names[:16])), "are 16, expected 17"),
    "another order": (
        set_names(list(COCO17.names[::-1])),
        "[0] is 'right_ankle', expected 'nose'",
    ),
    "category id a text": (
        lambda c, r: c["categories"][0].update(id="x"),
        "category id 'x'",
    ),
    "NaN in an unread field": (set_person(score=NAN), "annotation 101: holds NaN"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("strict", [True, False])
def test_unusable_file(name, strict, root, data):
    spoil, says = FILES[name]
    change(root, spoil)
    with pytest.raises(StageError) as caught:
        prepare(settings(root, strict=strict), data, jobs=1)
    assert str(caught.value).startswith(f"{root / 'annotations/train.json'}: ")
    assert says in str(caught.value)
    assert list(data.parent.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"{", b"\xff", b"[" * 100_000, b"[]", b'"text"', b"9" * 9999]
)
def test_file_that_is_no_coco_json(content, root, data):
    (root / "annotations/train.json").write_bytes(content)
    with pytest.raises(StageError, match="train.json: (not valid JSON|no list)"):
        prepare(settings(root), data, jobs=1)


def moved(root: Path, *moves: tuple[str, str]) -> Path:
    for old, new in moves:
        (root / new).parent.mkdir(exist_ok=True)
        (root / old).rename(root / new)
    return root


LAYOUTS = {
    "COCO": [
        ("annotations/train.json", "annotations/person_keypoints_train2017.json"),
        ("annotations/val.json", "annotations/person_keypoints_val2017.json"),
        ("train", "train2017"),
        ("val", "val2017"),
    ],
    "COCO below images": [
        ("annotations/train.json", "annotations/person_keypoints_train2017.json"),
        ("train", "images/train2017"),
        ("val", "images/val"),
    ],
    "annotations on top": [
        ("annotations/train.json", "train.json"),
        ("annotations/val.json", "val.json"),
    ],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_are_found(name, root, data):
    manifest = prepare(settings(moved(root, *LAYOUTS[name])), data, jobs=1)
    assert manifest["splits"]["train"]["persons"] == 6


def test_one_images_folder_serves_both_splits(root, data):
    moved(root, *((f"val/{n:06d}.jpg", f"train/{n:06d}.jpg") for n in (4, 5)))
    (root / "val").rmdir()
    moved(root, ("train", "images"))
    manifest = prepare(settings(root), data, jobs=1)
    roots = {part["images_root"] for part in manifest["splits"].values()}
    assert roots == {f"{root}/images"}


AMBIGUOUS = {
    "two annotation files": (
        lambda root: (root / "train.json").touch(),
        ["train.annotations", "annotations/train.json", f"{os.sep}train.json"],
    ),
    "no annotation file": (
        lambda root: (root / "annotations/train.json").unlink(),
        ["train.annotations", "annotations/person_keypoints_train*.json"],
    ),
    "two image folders": (
        lambda root: (root / "images/train").mkdir(parents=True),
        ["train.images", "photos/train", "photos/images/train"],
    ),
    "no image folder": (
        lambda root: (root / "train").rename(root / "pictures"),
        ["train.images", "images/train", "looked for"],
    ),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_layouts_that_are_not_clear(name, root, data):
    spoil, says = AMBIGUOUS[name]
    spoil(root)
    with pytest.raises(StageError) as caught:
        prepare(settings(root), data, jobs=1)
    assert all(word in str(caught.value) for word in says), caught.value
    assert f"Set {says[0]}" in str(caught.value)


def test_settings_override_the_convention(root, data):
    moved(root, ("annotations/train.json", "a.json"), ("train", "pictures"))
    given = {"annotations": str(root / "a.json"), "images": str(root / "pictures")}
    assert prepare(settings(root, train=given), data)["splits"]["train"]["images"] == 3
    given["images"] = str(root / "nowhere")
    with pytest.raises(StageError, match="train.images: .*nowhere is not a folder"):
        prepare(settings(root, train=given), data)


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ({"source": "coco_dir", "root": None}, "no root is set"),
        ({"source": "coco_dir", "root": "nowhere"}, "'nowhere' is not a folder"),
        ({"source": "coca"}, "'coca', expected one of: synthetic, coco_dir"),
    ],
)
def test_settings_that_cannot_be(item, says, data):
    with pytest.raises(StageError, match=says):
        prepare(item, data)


def test_interrupted_run_keeps_what_was_there(root, data, monkeypatch):
    before = prepare(settings(root), data, jobs=1)

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("stages.prepare.describe_split", interrupt)
    change(root, set_person(area=5))
    with pytest.raises(KeyboardInterrupt):
        prepare(settings(root), data, jobs=1)
    assert [path.name for path in data.parent.iterdir()] == ["tiny"]
    assert open_split(data, "train").data_hash == before["data_hash"]


def test_data_hash_is_of_the_content_alone(tmp_path, data):
    here = write_coco_folder(tmp_path / "here")
    there = write_coco_folder(tmp_path / "there/deeper")
    one = prepare(settings(here, name="a"), data, jobs=1)
    two = prepare(settings(there, name="b"), tmp_path / "data/other", jobs=2)
    assert one["data_hash"] == two["data_hash"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_data_hash_changes_with_a_photo(split, root, data):
    before = prepare(settings(root), data, jobs=1)
    photo = sorted((root / split).glob("*.jpg"))[0]
    with Image.open(photo) as image:
        image.copy().save(photo, quality=50)
    after = prepare(settings(root), data, jobs=1)
    assert after["data_hash"] != before["data_hash"]
    parts = before["splits"][split], after["splits"][split]
    assert parts[0]["annotations_sha256"] == parts[1]["annotations_sha256"]


def test_photos_keep_their_order_with_many_jobs(tmp_path):
    root = write_coco_folder(tmp_path, {"train": 300}, image_size=(32, 24))
    images = json.loads((root / "annotations/train.json").read_text())["images"]
    one = list(check_photos(images, root / "train", 1, "train"))
    assert list(check_photos(images, root / "train", 4, "train")) == one
    assert len({photo.sha256 for photo in one}) == len(images)


def test_open_split_gives_what_was_prepared(root, data):
    manifest = prepare(settings(root), data, jobs=1)
    split = open_split(data, "train")
    assert split.data_hash == manifest["data_hash"]
    assert split.keypoints == COCO17.names
    names = [image["file_name"] for image in split.coco["images"]]
    assert all((split.images_root / name).is_file() for name in names)


def test_rendered_dataset_holds_its_photos(tmp_path, data, monkeypatch):
    def render(settings: dict, split: str, folder: Path, jobs: int) -> None:
        (folder / "images").mkdir(exist_ok=True)
        drawn = write_coco_folder(tmp_path / split, {split: settings[split]})
        moved(drawn, (split, f"../{folder.relative_to(tmp_path)}/images/{split}"))
        (folder / "annotations").mkdir(exist_ok=True)
        name = f"annotations/{split}.json"
        (drawn / name).rename(folder / name)

    module = types.ModuleType("synthetic")
    module.write_split = render
    monkeypatch.setitem(sys.modules, "stages.prepare.synthetic", module)
    item = {"source": "synthetic", "train": 4, "val": 2}
    parts = prepare(item, data, jobs=1)["splits"]
    assert [part["persons"] for part in parts.values()] == [4, 2]
    assert {part["read_from"] for part in parts.values()} == {None}
    split = open_split(data, "val")
    assert split.images_root == data / "images/val"
    names = [image["file_name"] for image in split.coco["images"]]
    assert all((split.images_root / name).is_file() for name in names)


def test_open_split_refuses_what_was_changed(root, data):
    with pytest.raises(ValueError, match="manifest.json: No such file.*prepare tiny"):
        open_split(data, "train")
    prepare(settings(root), data, jobs=1)
    with pytest.raises(ValueError, match="no split 'test'; it has: train, val"):
        open_split(data, "test")
    with open(data / "annotations/val.json", "a") as handle:
        handle.write("\n")
    open_split(data, "train")
    with pytest.raises(ValueError, match="val.json was changed.*prepare tiny"):
        open_split(data, "val")


def test_real_data(tmp_path):
    top = os.environ.get("POSE_REAL_DATA")
    if not top:
        pytest.skip("POSE_REAL_DATA does not name a folder with coco_mini")
    manifest = prepare(settings(Path(top) / "coco_mini"), tmp_path / "coco_mini")
    counts = {s: (p["images"], p["persons"]) for s, p in manifest["splits"].items()}
    assert counts == {"train": (174, 478), "val": (110, 380)}
    assert all(part["skipped"] == {} for part in manifest["splits"].values())
