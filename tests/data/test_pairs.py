"""Each fake is put beside the real image that it was most likely made of."""

import numpy as np

from deepfake.data import pairs
from deepfake.data.dataset import Split


def split_of(labels: list[int], groups: list[str], images: np.ndarray | None = None) -> Split:
    found = np.zeros((len(labels), 16, 16, 3), np.uint8) if images is None else images
    return Split(found, np.array(labels), [str(i) for i in range(len(labels))], groups)


def drawn(found: pairs.Pairs, seed: int = 0) -> list[list[int]]:
    return found.draw(np.random.default_rng(seed)).tolist()


def test_a_fake_is_matched_within_its_group() -> None:
    split = split_of([0, 1, 0, 1], ["a", "a", "b", "b"])
    assert sorted(drawn(pairs.match(split))) == [[0, 1], [2, 3]]


def test_of_several_frames_the_one_with_the_same_surroundings_is_taken() -> None:
    scenes = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    fakes = scenes[[2, 0, 1]].copy()
    fakes[:, 16:48, 16:48] = 0  # another face; what surrounds it is as it was filmed
    found = pairs.match(split_of([0, 0, 0, 1, 1, 1], ["video"] * 6, np.concatenate([scenes, fakes])))
    assert sorted(drawn(found)) == [[0, 4], [1, 5], [2, 3]]


def test_where_there_are_more_fakes_real_images_are_taken_again() -> None:
    found = pairs.match(split_of([0, 1, 1, 1, 0], ["video"] * 5))
    rows = drawn(found)
    assert len(found) == len(rows) == 3
    assert sorted(fake for _, fake in rows) == [1, 2, 3]
    assert {real for real, _ in rows} == {0, 4}


def test_without_groups_pairs_are_drawn_anew_in_each_epoch_and_hold_every_image() -> None:
    split = split_of([0] * 6 + [1] * 9, [str(i) for i in range(15)])
    found = pairs.match(split)
    first, second = drawn(found, 0), drawn(found, 1)
    assert sorted(first) != sorted(second)
    for rows in (first, second):
        assert len(rows) == len(found) == 9
        assert sorted(fake for _, fake in rows) == list(range(6, 15))
        assert {real for real, _ in rows} == set(range(6))


def test_an_image_without_a_counterpart_is_given_one_by_chance() -> None:
    rows = drawn(pairs.match(split_of([0, 1, 1], ["a", "a", "b"])))
    assert sorted(rows) == [[0, 1], [0, 2]]


def test_twins_pair_real_images_with_themselves() -> None:
    assert sorted(drawn(pairs.twins(split_of([0, 1, 0], ["a", "b", "c"])))) == [[0, 0], [2, 2]]


def test_batches_hold_the_real_images_first() -> None:
    rows = np.array([[0, 10], [1, 11], [2, 12]])
    assert pairs.in_halves(rows, 4).tolist() == [0, 1, 10, 11, 2, 12]
