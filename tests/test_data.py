"""Data sets: disjoint splits, a person's own files, and refused ones."""

from __future__ import annotations

import gzip
import io
import itertools
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from hwsim.data import DATA_SETS, SPLITS, Split, data_folder, load_split
from hwsim.data.pictures import decode
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


# A person's own files and folders


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def idx(array):
    """An IDX file of bytes, by its published description."""
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


PIXELS = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
LABELS = np.array([3, 0, 9, 1, 1, 2])


@pytest.mark.parametrize("compress", [lambda content: content, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", ["t10k-{}-idx{}-ubyte", "mine.{}.idx{}"])
def test_idx_images_find_their_labels(tmp_path, compress, name):
    ending = ".gz" if compress is gzip.compress else ""
    grey = PIXELS[..., 0].copy()
    path = tmp_path / (name.format("images", 3) + ending)
    path.write_bytes(compress(idx(grey)))
    (tmp_path / (name.format("labels", 1) + ending)).write_bytes(compress(idx(LABELS.astype(np.uint8))))
    split = load_split(str(path), "test")
    np.testing.assert_array_equal(split.images, grey[..., None], strict=True)
    np.testing.assert_array_equal(split.labels, LABELS, strict=True)


@pytest.mark.parametrize("coarse", [b"", b"\x07"], ids=["CIFAR-10", "CIFAR-100"])
def test_cifar_batches_are_read_channel_by_channel(tmp_path, coarse):
    records = (
        coarse + bytes([label]) + image.transpose(2, 0, 1).tobytes()
        for image, label in zip(PIXELS, LABELS, strict=True)
    )
    (tmp_path / "test_batch.bin").write_bytes(b"".join(records))
    split = load_split(str(tmp_path / "test_batch.bin"), "test")
    np.testing.assert_array_equal(split.images, PIXELS, strict=True)
    np.testing.assert_array_equal(split.labels, LABELS, strict=True)


@pytest.fixture
def pictures(tmp_path):
    """A folder of two classes with pictures of the network's size, and files that are none."""
    for name, numbers in (("b_cat", (0, 1, 2)), ("a_dog", (3, 4, 5))):
        (tmp_path / name).mkdir()
        for number in numbers:
            Image.fromarray(PIXELS[number]).save(tmp_path / name / f"{number}.png")
        (tmp_path / name / "notes.txt").write_text("none")
        (tmp_path / name / ".hidden.png").write_text("none")
    return tmp_path


def test_the_sorted_folders_of_a_folder_are_its_classes(pictures):
    split = load_split(str(pictures), "test", (3, 32, 32))
    assert sorted(split.labels.tolist()) == [0, 0, 0, 1, 1, 1]
    for image, label in zip(split.images[:], split.labels, strict=True):
        (number,) = np.flatnonzero((image == PIXELS).all(axis=(1, 2, 3)))
        assert label == (0 if number >= 3 else 1)
    assert load_split(str(pictures), "test", (1, 32, 32)).images.shape == (6, 32, 32, 1)
    assert load_split(str(pictures), "test", (3, 8, 16)).images[:2].shape == (2, 8, 16, 3)


def encoded(picture, form="PNG"):
    file = io.BytesIO()
    picture.save(file, form)
    return file.getvalue()


@pytest.mark.parametrize(
    ("size", "crop"),
    [((300, 400), (256, 341)), ((90, 90), (256, 256)), ((240, 230), None), ((227, 227), None)],
)
def test_a_picture_is_resized_to_the_fields_256_for_224_and_its_centre_cut_out(size, crop):
    height, width = size
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8))
    ours = decode(encoded(picture), "p", (3, 224, 224))
    if crop:
        picture = picture.resize(crop[::-1], Image.Resampling.BILINEAR)
    top, left = round((picture.height - 224) / 2), round((picture.width - 224) / 2)
    np.testing.assert_array_equal(ours, np.asarray(picture)[top : top + 224, left : left + 224], strict=True)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_pictures_of_8_bits_in_any_mode_become_colour_or_grey(mode):
    picture = Image.fromarray(PIXELS[0]).convert(mode)
    assert decode(encoded(picture), "p", (3, 32, 32)).shape == (32, 32, 3)
    np.testing.assert_array_equal(
        decode(encoded(picture), "p", (1, 32, 32))[..., 0], np.asarray(picture.convert("L")), strict=True
    )


def grey16():
    return encoded(Image.fromarray(np.full((32, 32), 40_000, np.uint16)))


JPEG = encoded(Image.fromarray(PIXELS[0]), "JPEG")
PICTURES = {
    "truncated": (JPEG[: len(JPEG) // 2], "truncated"),
    "empty": (b"", "cannot identify image"),
    "no picture": (b"hello", "cannot identify image"),
    "damaged": (JPEG[:20] + b"\xff" * 40 + JPEG[60:], "cannot be decoded"),
    "16 bits": (grey16(), "8 bits a channel"),
}


@pytest.mark.parametrize("case", PICTURES)
@pytest.mark.parametrize("archive", [False, True], ids=["folder", "archive"])
def test_a_picture_that_cannot_be_used_is_refused_by_its_name(pictures, case, archive):
    content, sentence = PICTURES[case]
    if archive:
        data = np.frombuffer(JPEG + content, np.uint8)
        offsets = np.array([0, len(JPEG), max(len(data), len(JPEG) + 1)])
        np.savez(
            pictures / "p.npz", data=np.append(data, np.zeros(1, np.uint8)), offsets=offsets, labels=[0, 1]
        )
        split, name = load_split(str(pictures / "p.npz"), "test", (3, 32, 32)), "p.npz: 1"
    else:
        (pictures / "b_cat" / "2.png").write_bytes(content)
        split, name = load_split(str(pictures), "test", (3, 32, 32)), "2.png"
    with pytest.raises(HwsimError, match=sentence) as caught:
        list(split.batches(2))
    assert name in str(caught.value) and str(caught.value).isprintable()


def _folder(path, *names):
    for name in names:
        (path / name).mkdir()


GREY = PIXELS[..., 0].copy()
OWN = {
    "IDX cut short": ("images-idx3", idx(GREY)[:-1], "cut short: it declares [6, 32, 32], 6144 bytes"),
    "IDX too long": ("images-idx3", idx(GREY) + b"\0", "longer than it says"),
    "IDX without sizes": ("images-idx3", idx(GREY)[:9], "ends within its header"),
    "IDX of labels": ("images-idx3", idx(LABELS.astype(np.uint8)), "begins with 00000801"),
    "IDX of floats": ("images-idx3", b"\0\0\x0d\x03" + bytes(12), "begins with 00000d03"),
    "IDX that declares terabytes": ("images-idx3", b"\0\0\x08\x03" + b"\xff" * 12, "declares"),
    "IDX of another name": ("mine.idx", idx(GREY), "does not say where its labels are"),
    "IDX without labels": ("other-images-idx3", idx(GREY), 'other-labels-idx1": No such file'),
    "IDX with fewer labels": ("images-idx3", idx(GREY[:5]), "5 images need int64 labels [5]"),
    "IDX of no images": ("images-idx3", idx(GREY[:0]), "need int64 labels"),
    "no gzip": ("images-idx3.gz", idx(GREY), "ot a gzip"),
    "CIFAR cut short": ("a.bin", bytes(3072), "no whole records of 3073 (CIFAR-10) or 3074"),
    "CIFAR empty": ("a.bin", b"", "holds 0 bytes"),
    "CIFAR label": ("a.bin", bytes(3073) + b"\x0a" + bytes(3072), "record 1"),
    "CIFAR-100 label": (
        "a.bin",
        bytes(3074) + b"\x01\x64" + bytes(3072),
        "the label 100, beyond 100 classes",
    ),
    "CIFAR missing": ("none.bin", None, "No such file"),
    "offsets that fall": (
        "a.npz",
        npz(data=np.zeros(9, np.uint8), offsets=np.array([0, 5, 4]), labels=[0, 1]),
        "do not rise",
    ),
    "offsets beyond the data": (
        "a.npz",
        npz(data=np.zeros(9, np.uint8), offsets=np.array([0, 10]), labels=[0]),
        "within the 9 bytes",
    ),
    "archive without labels": (
        "a.npz",
        npz(data=np.zeros(9, np.uint8), offsets=np.array([0, 9])),
        '"labels"',
    ),
}


@pytest.mark.parametrize("case", OWN)
def test_a_file_of_ones_own_that_cannot_be_used_is_refused_by_its_name(case, tmp_path):
    name, content, sentence = OWN[case]
    (tmp_path / "labels-idx1").write_bytes(idx(LABELS.astype(np.uint8)))
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(HwsimError) as caught:
        load_split(str(tmp_path / name), "test", (3, 32, 32))
    assert sentence in str(caught.value) and str(caught.value).isprintable()
    assert str(tmp_path) in str(caught.value)


def test_folders_without_classes_or_pictures_are_refused(pictures, tmp_path_factory):
    with pytest.raises(HwsimError, match="holds no folders; put the pictures into one folder a class"):
        load_split(str(pictures / "a_dog"), "test", (3, 32, 32))
    _folder(pictures, "c_empty")
    with pytest.raises(HwsimError, match=r'class 2, ".*c_empty", holds no picture'):
        load_split(str(pictures), "test", (3, 32, 32))
    with pytest.raises(HwsimError, match="pictures have 1 or 3 channels, the network reads 4"):
        list(load_split(str(pictures / ".." / _two(tmp_path_factory)), "test", (4, 32, 32)).batches(1))


def _two(factory):
    folder = factory.mktemp("two")
    _folder(folder, "only")
    (folder / "only" / "p.jpg").write_bytes(JPEG)
    return folder


def test_a_split_that_a_data_set_does_not_have_is_refused_by_name():
    with pytest.raises(HwsimError, match='"imagenet" has no train split, only calibration and test'):
        DATA_SETS["imagenet"].load("train")
