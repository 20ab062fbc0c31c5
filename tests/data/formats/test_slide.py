from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from slides import CM, noise, pyramid

from medcnn.data.formats import decode, open_slide
from medcnn.data.formats.slide import Picture, ScannedSlide
from medcnn.data.formats.tiff_levels import TiffSlide
from medcnn.data.identity import content_of, stamp_of
from medcnn.errors import UserError

PICTURE = noise(100, 121)
APERIO = "Aperio Image Library v12.0.15\r\n121x100 (16x16) JPEG/RGB Q=90|AppMag = 20|MPP = 0.25"


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("sub", [0, 2])  # levels as pages of their own, or below the first
def test_parts_of_a_pyramid(compression: str | None, sub: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    kind = {"tile": (16, 32), "photometric": "rgb", "metadata": None, "compression": compression}
    with tifffile.TiffWriter(path) as file:
        file.write(PICTURE, subifds=sub, resolution=(CM, CM), resolutionunit="CENTIMETER", **kind)
        file.write(PICTURE[::2, ::2], subfiletype=1, **kind)
        file.write(PICTURE[::4, ::4], subfiletype=1, **kind)
    with open_slide(path) as slide:
        assert isinstance(slide, TiffSlide)
        assert [level[:2] for level in slide.levels] == [(100, 121), (50, 61), (25, 31)]
        assert (slide.shape, slide.channels, slide.spacing) == ((100, 121), 3, 0.5)
        assert slide.value_range == (0, 255)
        for level, step in enumerate((1, 2, 4)):
            part = slide.read(level, 3, 5, 20, 25)
            np.testing.assert_array_equal(
                part, PICTURE[::step, ::step][3:23, 5:30].transpose(2, 0, 1)
            )
        corner = slide.region((80, 100), (20, 21), 1.0)  # to the last pixel
        np.testing.assert_array_equal(corner, PICTURE[80:, 100:].transpose(2, 0, 1))
        assert [slide.level_of(ratio) for ratio in (1, 1.9, 2, 3.9, 100)] == [0, 0, 1, 1, 2]


def test_only_the_blocks_that_a_part_touches_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyramid(tmp_path / "a.tif", PICTURE)
    with open_slide(tmp_path / "a.tif") as slide:
        assert isinstance(slide, TiffSlide)
        slide.read(0, 10, 10, 10, 10)  # over four blocks of 16 × 16
        assert len(slide._blocks) == 4
        monkeypatch.setattr("medcnn.data.formats.tiff_levels.HELD", 0)
        slide.read(0, 60, 0, 10, 121)
        assert len(slide._blocks) == 4  # and the others are let go


def test_strips_of_grey_with_white_first(tmp_path: Path) -> None:
    grey = PICTURE[..., 0].astype(np.uint16) * 9
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, grey, photometric="miniswhite", rowsperstrip=7, compression="zlib")
    with open_slide(path) as slide:
        assert isinstance(slide, TiffSlide)
        assert (slide.value_range, slide.channels, slide.spacing) == ((65535, 0), 1, None)
        np.testing.assert_array_equal(slide.read(0, 5, 0, 30, 121)[0], grey[5:35])


def test_other_pictures_are_decoded_as_a_whole(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    Image.fromarray(PICTURE[..., 0] > 99).save(tmp_path / "bits.tif")  # one bit a pixel
    for name, expected in (("a.png", PICTURE), ("bits.tif", 255 * (PICTURE[..., :1] > 99))):
        with open_slide(tmp_path / name) as slide:
            assert isinstance(slide, Picture)
            np.testing.assert_array_equal(
                slide.region((1, 2), (10, 20), 1.0), expected[1:11, 2:22].transpose(2, 0, 1)
            )


@pytest.mark.parametrize(
    ("options", "spacing"),
    [
        ({"description": "Aperio ... |MPP = 0.499|x"}, 0.499),
        ({"description": '<OME><Pixels PhysicalSizeX="0.25" SizeX="9"/></OME>'}, 0.25),
        ({"description": '<OME><Pixels PhysicalSizeX="250" PhysicalSizeXUnit="nm"/></OME>'}, 0.25),
        ({"description": '<OME PhysicalSizeX="2" PhysicalSizeXUnit="&#181;m"/>'}, 2.0),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),  # of a screen
        ({"resolution": (50800, 50800), "resolutionunit": "INCH"}, 0.5),
        ({}, None),
    ],
)
def test_spacing(options: dict[str, object], spacing: float | None, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PICTURE, photometric="rgb", metadata=None, **options)
    with open_slide(path) as slide:
        assert slide.spacing == spacing


def test_files_of_scanners_are_read_by_openslide(tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    pytest.importorskip("imagecodecs")
    rows, columns = np.mgrid[:100, :121]
    smooth = np.stack([rows, columns, rows + 50], 2).astype(np.uint8)  # survives JPEG
    kind = {"compression": "jpeg", "compressionargs": {"level": 95}, "description": APERIO}
    path = tmp_path / pyramid(tmp_path / "a.svs", smooth, **kind)
    with open_slide(path) as slide:
        assert isinstance(slide, ScannedSlide)
        assert (slide.spacing, slide.shape) == (0.25, (100, 121))
        for level, step in enumerate((1, 2)):
            wanted = smooth[::step, ::step][3:23, 5:30].transpose(2, 0, 1)
            np.testing.assert_allclose(slide.read(level, 3, 5, 20, 25), wanted, atol=8)
    with pytest.raises(UserError, match=r"is a whole slide: dataset\.tiles=224"):
        decode(path)
    (tmp_path / "b.svs").write_bytes(b"no slide")
    with pytest.raises(UserError, match="no file of a slide scanner"):
        open_slide(tmp_path / "b.svs")


def test_without_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openslide", None)
    (tmp_path / "a.ndpi").touch()
    with pytest.raises(UserError, match=r"OpenSlide reads: pip install 'medcnn\[slides\]'"):
        open_slide(tmp_path / "a.ndpi")

    def lacking(*args: object, **kwargs: object) -> None:
        raise ValueError("<COMPRESSION.JPEG: 7> requires the 'imagecodecs' package")

    pyramid(tmp_path / "a.tif", PICTURE)
    with open_slide(tmp_path / "a.tif") as slide:
        assert isinstance(slide, TiffSlide)
        slide.pages[0].__dict__["decode"] = lacking
        with pytest.raises(UserError, match=r"compressed by NONE: pip install 'medcnn\[slides\]'"):
            slide.read(0, 0, 0, 5, 5)


def test_damaged(tmp_path: Path) -> None:
    path = tmp_path / pyramid(tmp_path / "a.tif", PICTURE, ())
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])  # the blocks come last
    with open_slide(path) as slide, pytest.raises(UserError, match="cut short"):
        slide.read(0, 95, 112, 5, 5)
    path.write_bytes(whole[:100])
    with pytest.raises(UserError, match=r"damaged|decoded|cut short"):
        open_slide(path)
    with pytest.raises(UserError, match="is missing"):
        open_slide(tmp_path / "none.tif")


def test_a_mirax_is_its_folder_too(tmp_path: Path) -> None:
    (tmp_path / "a.mrxs").write_bytes(b"index")
    (tmp_path / "a").mkdir()
    data = tmp_path / "a" / "Data0000.dat"
    data.write_bytes(b"1")
    before = stamp_of(tmp_path / "a.mrxs"), content_of(tmp_path / "a.mrxs")
    data.write_bytes(b"22")
    after = stamp_of(tmp_path / "a.mrxs"), content_of(tmp_path / "a.mrxs")
    assert all(one != other for one, other in zip(before, after, strict=True))
