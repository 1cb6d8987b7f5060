import pytest

from demo.scenes import GROUPS, LANDSCAPE, PORTRAIT, Group, paint, random_scene


@pytest.mark.parametrize("group", GROUPS)
def test_a_seed_and_a_size_give_the_same_bytes(group: Group) -> None:
    first, again = (paint(random_scene(5, group), 64) for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != paint(random_scene(6, group), 64).tobytes()


@pytest.mark.parametrize("size", [64, 128, 200])
def test_any_size(size: int) -> None:
    assert paint(random_scene(1), size).size == (size, size)


@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_is_reachable(group: Group) -> None:
    choices = PORTRAIT if group == "portrait" else LANDSCAPE
    scenes = [random_scene(seed, group) for seed in range(800)]
    for name, values in choices.items():
        assert {scene.attributes[name] for scene in scenes} == set(values), name


@pytest.mark.parametrize("group", GROUPS)
def test_the_caption_names_every_attribute(group: Group) -> None:
    for seed in range(100):
        scene = random_scene(seed, group)
        assert scene.caption().startswith(group)
        assert all(value in scene.caption() for value in scene.attributes.values())


@pytest.mark.parametrize("group", GROUPS)
def test_every_attribute_changes_the_picture(group: Group) -> None:
    choices = PORTRAIT if group == "portrait" else LANDSCAPE
    for name in set(choices) - {"person"}:
        pictures: dict[str, bytes] = {}
        for value in choices[name]:
            scene = random_scene(3, group)
            changed = type(scene)(group, {**scene.attributes, name: value}, scene.seed)
            pictures[value] = paint(changed, 64).tobytes()
        assert len(set(pictures.values())) == len(pictures), name
