"""Data sets: disjoint splits, a person's own files, and refused ones."""

from __future__ import annotations

import io
import itertools
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hwsim.data import DATA_SETS, SPLITS, Split, data_folder, load_split
from hwsim.errors import HwsimError


def _rows(split):
    return {image.tobytes() for image in split.images}


def test_the_digits_splits_are_disjoint_and_together_all_of_scikit_learns_images():
    splits = [load_split("digits", name) for name in SPLITS]
    assert [len(split) for split in splits] == [900, 200, 697]
    assert not any(_rows(a) & _rows(b) for a, b in itertools.combinations(splits, 2))
    pixels, labels = load_digits(return_X_y=True)
    theirs = sorted(
        (row.astype(np.uint8).tobytes(), label) for row, label in zip(pixels, labels, strict=True)
    )
    ours = sorted(
        (image.tobytes(), label) for s in splits for image, label in zip(s.images, s.labels, strict=True)
    )
    assert ours == theirs


def test_every_digits_split_holds_every_class_at_its_beginning():
    for name in SPLITS:
        assert set(load_split("digits", name).labels[:100]) == set(range(10))


def test_loading_twice_gives_equal_digests_and_other_splits_other_ones():
    digests = [load_split("digits", name).digest() for name in SPLITS]
    assert digests == [load_split("digits", name).digest() for name in SPLITS]
    assert len(set(digests)) == 3


@pytest.mark.parametrize("name", ["cifar10", "fashion_mnist"])
def test_calibration_images_of_the_data_folder_are_no_test_images(name):
    try:
        data_folder()
    except HwsimError as error:
        pytest.skip(str(error))
    calibration, test = (DATA_SETS[name].load(split) for split in ("calibration", "test"))
    assert len(calibration) == 2000
    assert not _rows(calibration) & _rows(test)
    assert np.bincount(test.labels[:500]).min() > 25


def test_a_file_of_grey_or_colour_images_is_the_split_asked_for(tmp_path):
    pixels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    np.savez(tmp_path / "grey.npz", x=pixels, y=np.array([3, 0], np.uint8))
    np.savez_compressed(tmp_path / "colour.npz", x=pixels[..., None].repeat(3, 3), y=np.array([3, 0]))
    for name, channels in (("grey", 1), ("colour", 3)):
        split = load_split(str(tmp_path / f"{name}.npz"), "test")
        np.testing.assert_array_equal(split.images, pixels[..., None].repeat(channels, 3), strict=True)
        np.testing.assert_array_equal(split.labels, np.array([3, 0], np.int64), strict=True)


def _write(path, x, y):
    np.savez(path, x=x, y=y)


def _huge(path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 9, 9)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header.getvalue())
        archive.writestr("y.npy", header.getvalue())


def _truncated(path):
    _write(path, np.zeros((9, 8, 8), np.uint8), np.zeros(9, int))
    path.write_bytes(path.read_bytes()[:300])


X, Y = np.zeros((2, 8, 8), np.uint8), np.zeros(2, np.int64)
BAD_FILES = {
    "float pixels": (lambda path: _write(path, X / 2, Y), "x is float64; store the pixels as uint8"),
    "one image": (lambda path: _write(path, X[0], Y), r"images are uint8 \[n, height, width, channels\]"),
    "float labels": (lambda path: _write(path, X, Y / 2), "y is float64; store the labels as integers"),
    "negative label": (lambda path: _write(path, X, Y - 1), "label -1 is negative"),
    "labels missing": (lambda path: _write(path, X, Y[:1]), "2 images need"),
    "huge label": (lambda path: _write(path, X, Y.astype(np.uint64) - 1), "does not fit 64 bits"),
    "empty": (lambda path: _write(path, X[:0], Y[:0]), "empty"),
    "no y": (lambda path: np.savez(path, x=X), 'no array "y"'),
    "objects": (lambda path: _write(path, X, np.array([print, 1])), "never read"),
    "declared too large": (_huge, "more than the file holds"),
    "truncated": (_truncated, "no readable .npz"),
    "text": (lambda path: path.write_text("hello"), "no readable .npz"),
    "folder": (Path.mkdir, "no readable .npz"),
    "absent": (lambda path: None, "there is no file"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_an_unusable_file_is_refused_with_its_name(case, tmp_path):
    write, message = BAD_FILES[case]
    path = tmp_path / "mine.npz"
    write(path)
    with pytest.raises(HwsimError, match=message) as caught:
        load_split(str(path), "test")
    assert "mine.npz" in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(
        HwsimError,
        match=r'unknown data set "mnist"; known: digits, cifar10, fashion_mnist, imagenet; or give',
    ):
        load_split("mnist", "test")
    with pytest.raises(HwsimError, match=r'unknown split "valid"; known: train, calibration, test'):
        load_split("digits", "valid")


def test_a_missing_data_folder_is_named_with_its_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("HWSIM_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(HwsimError, match=r'HWSIM_DATA is ".*nowhere", which is no folder; set HWSIM_DATA'):
        load_split("cifar10", "test")
    monkeypatch.setenv("HWSIM_DATA", str(tmp_path))
    with pytest.raises(HwsimError, match=r"there is no file .*cifar10_test\.npz"):
        load_split("cifar10", "test")


def test_a_split_refuses_arrays_of_another_type():
    with pytest.raises(HwsimError, match="int32"):
        Split(X[..., None], Y.astype(np.int32))
