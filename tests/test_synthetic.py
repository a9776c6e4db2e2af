"""The rendered people: exact keypoints, honest annotations, same bytes every time."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from plugins.datasets.keypoint_sets import COCO17
from stages.prepare import synthetic
from stages.prepare.synthetic import annotations, imaging, posing, scene, skeleton
from stages.prepare.synthetic.body import build_person, draw_outfit
from stages.prepare.synthetic.camera import heading
from stages.prepare.synthetic.casting import cast
from stages.prepare.synthetic.surfaces import Builder, Surfaces, join
from stages.prepare.synthetic.wardrobe import TILE, Materials

CONF = Path(__file__).parents[1] / "conf" / "data" / "synthetic.yaml"
SETTINGS = yaml.safe_load(CONF.read_text())
AXES = np.eye(3)
MARKER = 25
"""Radius in px of the spheres that stand for keypoints."""


@pytest.fixture(scope="module")
def crowd() -> list[tuple[tuple, dict]]:
    """(image size, annotation) of the people in some images, drawn without shading."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "paint", lambda scene, view: _blank(scene))
        found = []
        for index in range(50):
            image, people = synthetic.render(SETTINGS, "train", index)
            found += [(image.shape[1::-1], person) for person in people]
    return found


def _blank(drawn) -> np.ndarray:
    width, height = drawn.camera.size
    return np.zeros((height, width, 3), dtype=np.float32)


def _scene(index: int, count: int = 1):
    rng = synthetic.stream(SETTINGS, "train", index, 0)
    return scene.draw_scene(SETTINGS | {"truncation": 0.0}, rng, count)


def _upright(degrees: float, things: Builder | None = None):
    """A person at rest, turned from the camera by so many degrees, and things."""
    drawn = _scene(0)
    build, rng = skeleton.Build(), np.random.default_rng(0)
    angles = np.zeros((len(skeleton.JOINTS), 3))
    outfit = replace(draw_outfit(rng, build, drawn.materials), style="short", skirt=0.0)
    frames = skeleton.forward_kinematics(build, angles, AXES)
    turn = heading(np.radians(degrees))
    person = build_person(build, frames, outfit, 0).moved(turn, np.array([0, 0.95, 0]))
    position = np.array([0.0, 1.0, 5.0])
    rotation = np.diag([1.0, -1.0, -1.0])
    camera = replace(
        drawn.camera, rotation=rotation, position=position, focal=600.0,
        centre=(120.0, 130.0), size=(240, 260),
    )  # fmt: skip
    groups = [person.surfaces] + ([things.done()] if things else [])
    return replace(drawn, people=[person], surfaces=join(groups), camera=camera)


def _visibility(drawn) -> dict[str, int]:
    view = imaging.look(drawn)
    visible = annotations.visibility(drawn.people[0], drawn.camera, view)
    return dict(zip(COCO17.names, visible.tolist(), strict=True))


@pytest.mark.parametrize("index", [1, 2, 3])
def test_a_marker_appears_where_its_keypoint_is_annotated(index):
    """Camera, supersampling and averaging keep pixel centres at integers."""
    drawn, margin = _scene(index), 2 * MARKER
    white = Materials([np.ones((TILE, TILE, 3), dtype=np.float32)], [1.0])
    even = replace(drawn.light, sun=np.zeros(3), sky=np.ones(3), ground=np.ones(3))
    flat = drawn.backdrop
    dark = replace(flat, floor=flat.floor * 0, wall=flat.wall * 0, sky=np.zeros(3))
    places, depths = drawn.camera.project(drawn.people[0].keypoints)
    middle, (width, height) = np.array(drawn.camera.centre), drawn.camera.size
    camera = replace(
        drawn.camera,
        centre=tuple(middle + margin),
        size=(width + 2 * margin, height + 2 * margin),
    )
    share = MARKER / camera.focal
    errors = []
    for point, place, depth in zip(
        drawn.people[0].keypoints, places, depths, strict=True
    ):
        marker = Builder(owner=0)
        marker.ellipsoid(point, AXES, (share * depth,) * 3, 0)
        lone = replace(
            drawn, surfaces=marker.done(), materials=white, light=even, backdrop=dark,
            camera=camera,
        )  # fmt: skip
        light = imaging.paint(lone, imaging.look(lone)).sum(axis=2)
        rows, columns = np.mgrid[: light.shape[0], : light.shape[1]]
        seen = np.array([(light * v).sum() / light.sum() for v in (columns, rows)])
        # A sphere's outline is an ellipse whose middle lies a little farther out.
        outline = middle + (place - middle) / (1 - share**2)
        inside = (place > 0).all() and (place < (width, height)).all()
        errors += [seen - margin - outline] if inside else []
    assert np.abs(errors).max() < 0.05
    assert np.abs(np.mean(errors, axis=0)).max() < 0.01


def test_joints_bend_the_way_that_bodies_do():
    """Knees back, elbows forward, neither farther than a body can."""
    rng = np.random.default_rng(0)
    for _ in range(150):
        pose, frames = posing.draw_pose(rng, skeleton.draw_build(rng), 2.0)
        assert (pose.table >= skeleton.LIMITS[..., 0]).all()
        assert (pose.table <= skeleton.LIMITS[..., 1]).all()
        for side in ("left", "right"):
            for joint, end, way in (("hip", "knee", -1), ("shoulder", "elbow", 1)):
                upper, lower = frames[f"{side}_{joint}"], frames[f"{side}_{end}"]
                down = upper.rotation.T @ -lower.rotation[:, 1]
                bend = np.degrees(np.arctan2(way * down[2], -down[1]))
                assert -1e-6 <= bend <= 145 + 1e-6


def test_left_is_left_and_front_is_front():
    front, back = _upright(0), _upright(180)
    for drawn, sign in ((front, 1), (back, -1)):
        points, _ = drawn.camera.project(drawn.people[0].keypoints)
        for left in range(1, 17, 2):
            assert sign * (points[left, 0] - points[left + 1, 0]) > 0
    assert _visibility(front) == dict.fromkeys(COCO17.names, 2)
    hidden = {name for name, v in _visibility(back).items() if v == 1}
    assert hidden == {"nose", "left_eye", "right_eye"}


def test_what_stands_before_a_keypoint_hides_it():
    wrist = _upright(0).people[0].keypoints[COCO17.names.index("left_wrist")]
    things = Builder()
    things.box(wrist + [0, 0, 0.6], AXES, (0.06, 0.06, 0.02), 0)
    visible = _visibility(_upright(0, things))
    assert visible["left_wrist"] == 1
    assert sum(v == 1 for v in visible.values()) == 1


def test_a_body_hides_its_own_far_side():
    visible = _visibility(_upright(90))
    for name in ("shoulder", "elbow", "hip", "ear"):
        assert visible[f"left_{name}"] == 1 or visible[f"right_{name}"] == 1
        assert visible[f"left_{name}"] != visible[f"right_{name}"]


def test_keypoints_outside_the_image_are_not_labelled():
    drawn = _upright(0)
    camera = replace(drawn.camera, size=(240, 150))
    visible = _visibility(replace(drawn, camera=camera))
    points, _ = camera.project(drawn.people[0].keypoints)
    below = {n for n, y in zip(COCO17.names, points[:, 1], strict=True) if y >= 149.5}
    assert below >= {"left_knee", "right_knee", "left_ankle", "right_ankle"}
    assert below == {name for name, v in visible.items() if v == 0}


def test_box_and_area_are_those_of_the_visible_mask():
    for index in range(4):
        drawn = _scene(index, 2)
        view = imaging.look(drawn)
        rng = np.random.default_rng(0)
        for person, mask in zip(drawn.people, annotations.masks(view, 2), strict=False):
            one = annotations.annotate(person, mask, drawn.camera, view, rng, SETTINGS)
            code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            assert one["bbox"] == coco_mask.toBbox(code).tolist()
            assert one["area"] == coco_mask.area(code)


def test_masks_are_as_large_as_what_is_seen():
    view = imaging.look(_scene(5, 3))
    masks = annotations.masks(view, 3)
    assert masks.sum(axis=0).max() == 1
    for person, mask in enumerate(masks):
        samples = (view.owner == person).sum()
        assert mask.sum() == pytest.approx(samples / imaging.SAMPLES**2, rel=0.03)


def test_rays_end_on_round_cones_and_miss_nothing():
    """The signed distance is zero where a ray ends, positive where it does not."""
    camera = replace(_upright(0).camera, size=(45, 40), centre=(20.0, 22.0), focal=45.0)
    rays = np.stack(camera.rays(), axis=-1)
    rng = np.random.default_rng(3)
    for _ in range(8):
        ends = rng.uniform(-0.6, 0.6, (2, 3)) + [0, 1, 3.2]
        radii = rng.uniform(0.05, 0.3, 2)
        shapes = Builder()
        shapes.cone(*ends, tuple(radii), AXES[2], 0)
        depth, index = cast(shapes.done(), camera)
        hit = index == 0
        assert hit.any()
        met = camera.position + rays[hit] * depth[hit][:, None]
        assert np.abs(_distance(met, ends, radii, 2000)).max() < 1e-4
        along = np.linspace(1, 3, 40)[:, None, None]
        beside = camera.position + rays[~hit] * along
        assert _distance(beside, ends, radii, 40).min() > -1e-6


def _distance(points, ends, radii, steps: int) -> np.ndarray:
    """Signed distance (...,) of points (..., 3) to the hull of two spheres.

    It is the least distance to any sphere between the two; ``steps`` of them are tried.
    """
    nearest = np.full(points.shape[:-1], np.inf)
    for share in np.linspace(0, 1, steps):
        apart = points - (ends[0] + share * (ends[1] - ends[0]))
        radius = radii[0] + share * (radii[1] - radii[0])
        nearest = np.minimum(nearest, np.sqrt((apart**2).sum(axis=-1)) - radius)
    return nearest


def test_the_nearest_surface_is_seen_in_whatever_order_they_come():
    drawn = _scene(2, 2)
    shapes = drawn.surfaces
    backwards = Surfaces(*(getattr(shapes, f.name)[::-1] for f in fields(shapes)))
    depth, index = cast(shapes, drawn.camera)
    other, mirrored = cast(backwards, drawn.camera)
    np.testing.assert_array_equal(depth, other)
    same = np.where(mirrored < 0, mirrored, len(shapes) - 1 - mirrored)
    differ = index != same
    assert differ.mean() < 0.01
    # Two limbs share the sphere of their joint, and either may be named there.
    for one, two in zip(index[differ], same[differ], strict=True):
        assert shapes.owner[one] == shapes.owner[two]
        first, second = sorted((one, two))
        assert shapes.radii[first][1] == shapes.radii[second][0]


@pytest.mark.parametrize("total", [1, 2, 7, 600])
def test_images_hold_exactly_the_people_asked_for(total):
    counts = synthetic.people_per_image(SETTINGS | {"val": total}, "val")
    assert counts.sum() == total
    assert counts.min() >= 1


def test_splits_and_seeds_are_drawn_apart():
    first, _ = synthetic.render(SETTINGS, "train", 0)
    for settings, split in ((SETTINGS, "val"), (SETTINGS | {"seed": 1}, "train")):
        other, _ = synthetic.render(settings, split, 0)
        assert first.shape != other.shape or not (first == other).all()


def test_the_number_of_workers_changes_no_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "CHUNK", 2)
    settings = SETTINGS | {"val": 12}
    for jobs in (1, 2):
        synthetic.write_split(settings, "val", tmp_path / str(jobs), jobs)
    files = sorted(p for p in (tmp_path / "1").rglob("*") if p.is_file())
    assert len(files) == len(synthetic.people_per_image(settings, "val")) + 1
    for path in files:
        twin = tmp_path / "2" / path.relative_to(tmp_path / "1")
        assert path.read_bytes() == twin.read_bytes()
    _check_with_pycocotools(tmp_path / "1" / "annotations" / "val.json", 12)


def _check_with_pycocotools(path: Path, people: int) -> None:
    """The truth, taken as predictions, is perfect in COCO's own evaluation."""
    truth = COCO(str(path))
    assert len(truth.anns) == people
    category = truth.loadCats(1)[0]
    assert category["keypoints"] == list(COCO17.names)
    left_shin = ["left_ankle", "left_knee"]
    assert [category["keypoints"][n - 1] for n in category["skeleton"][0]] == left_shin
    names = ("image_id", "category_id", "keypoints")
    answers = [{n: a[n] for n in names} | {"score": 1.0} for a in truth.anns.values()]
    evaluation = COCOeval(truth, truth.loadRes(answers), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


def test_annotations_are_sane(crowd):
    for (width, height), person in crowd:
        x, y, v = np.array(person["keypoints"], dtype=float).reshape(-1, 3).T
        assert ((x >= -0.5) & (x < width - 0.5)).all()
        assert ((y >= -0.5) & (y < height - 0.5)).all()
        assert not (x[v == 0].any() or y[v == 0].any())
        assert person["num_keypoints"] == (v > 0).sum()
        assert (v == 2).sum() >= annotations.MIN_SEEN
        left, top, wide, tall = person["bbox"]
        assert left >= 0 and top >= 0 and left + wide <= width and top + tall <= height
        assert annotations.MIN_AREA <= person["area"] <= wide * tall


def test_the_crowd_is_varied_enough_to_train_on(crowd):
    visible = np.array([p["keypoints"][2::3] for _, p in crowd])
    shares = [(visible == v).mean() for v in (0, 1, 2)]
    assert 0.08 < shares[0] < 0.25
    assert 0.12 < shares[1] < 0.32
    assert shares[2] > 0.5
    large = np.mean([p["area"] > 96**2 for _, p in crowd])
    assert 0.15 < large < 0.5
    cut = []
    for (width, height), person in crowd:
        left, top, wide, tall = person["bbox"]
        at_border = left == 0 or top == 0
        cut.append(at_border or left + wide == width or top + tall == height)
    assert 0.15 < np.mean(cut) < 0.5


def test_settings_that_no_scene_fits_say_what_to_change(monkeypatch):
    monkeypatch.setattr(synthetic, "ATTEMPTS", 2)
    with pytest.raises(synthetic.StageError, match="height"):
        synthetic.render(SETTINGS | {"height": [8, 9]}, "train", 0)
