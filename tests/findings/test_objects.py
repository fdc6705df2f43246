"""Every kind of object: that readers read it, that it lies on the right pixels, that its bytes repeat."""

from __future__ import annotations

import io
import logging
import time
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from matplotlib.path import Path as Outline
from pydicom.dataset import Dataset, FileDataset
from scipy import ndimage

from scripts.make_dx import make_dx
from tests.findings.conftest import hot, read
from vitad_med.data.dicom.header import read_header
from vitad_med.data.dicom.intended_use import IntendedUse
from vitad_med.data.dicom.triage import Aside
from vitad_med.data.worklist import build_worklist
from vitad_med.errors import ConfigError, DataError
from vitad_med.findings.finding import Finding, Provenance
from vitad_med.findings.objects import KINDS, make_objects

BLOCK = (slice(60, 90), slice(100, 130))
"""Rows and columns of the picture that the fixtures' block covers: 8 to 12 and 20 to 26 of 32."""


@pytest.fixture(scope="module")
def made(
    radiograph: np.ndarray,
    flagged: Finding,
    provenance: Provenance,
    picture: np.ndarray,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("made") / "dx.dcm"
    make_dx(radiograph, "1").save_as(path, enforce_file_format=True)
    return make_objects(path, flagged, provenance, KINDS, picture=picture, region_share=24 / 1024)


def painted(polygon: np.ndarray, shape: tuple[int, int] = (240, 160)) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    return Outline(polygon).contains_points(np.stack([columns.ravel(), rows.ravel()], axis=1)).reshape(shape)


def covers_the_block(mask: np.ndarray) -> None:
    """Within half a cell of the network's grid, 3.75 rows and 2.5 columns, to each side."""
    rows, columns = BLOCK
    outer = np.zeros(mask.shape, dtype=bool)
    outer[rows.start - 4 : rows.stop + 4, columns.start - 3 : columns.stop + 3] = True
    inner = np.zeros(mask.shape, dtype=bool)
    inner[rows.start + 4 : rows.stop - 4, columns.start + 3 : columns.stop - 3] = True
    assert not mask[~outer].any()
    assert mask[inner].all()
    centre = np.argwhere(mask).mean(axis=0) + 0.5
    assert centre == pytest.approx([75, 115], abs=0.75)


def test_the_segmentation_lies_on_the_block(made: dict[str, bytes]) -> None:
    seg = hd.seg.segread(io.BytesIO(made["seg"]))
    source = seg.get_source_image_uids()
    pixels = seg.get_pixels_by_source_instance([source[0][2]])
    assert pixels.shape == (1, 240, 160, 1)
    covers_the_block(pixels[0, :, :, 0] > 0)
    assert seg.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    assert (
        seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Morphologically abnormal structure"
    )


def test_the_fractional_segmentation_is_the_whole_map(made: dict[str, bytes]) -> None:
    seg = hd.seg.segread(io.BytesIO(made["seg_fractional"]))
    values = seg.pixel_array.astype(float)
    assert values.shape == (240, 160)
    assert values[75, 115] == 255
    assert values[200, 20] == 0
    covers_the_block(values > 127)


def test_the_reports_polyline_lies_on_the_block_and_on_the_segmentation(made: dict[str, bytes]) -> None:
    report = hd.sr.srread(io.BytesIO(made["sr"]))
    (group,) = report.content.get_planar_roi_measurement_groups()
    polygon = group.roi.value
    assert group.roi.GraphicType == "POLYLINE"
    assert polygon[0].tolist() == polygon[-1].tolist()
    covers_the_block(painted(polygon))
    mask = hd.seg.segread(io.BytesIO(made["seg"])).pixel_array > 0
    edge = mask & ~ndimage.binary_erosion(mask)
    # The polyline cuts corners of at most a pixel, nowhere but along the edge.
    wrong = painted(polygon) != mask
    assert wrong.sum() < 0.6 * edge.sum()
    assert not (wrong & ~ndimage.binary_dilation(edge)).any()


def test_the_presentation_state_draws_the_same_line(made: dict[str, bytes]) -> None:
    state = read(made)["gsps"]
    annotation = state.GraphicAnnotationSequence[0]
    (line,) = annotation.GraphicObjectSequence
    (group,) = hd.sr.srread(io.BytesIO(made["sr"])).content.get_planar_roi_measurement_groups()
    np.testing.assert_array_equal(np.reshape(line.GraphicData, (-1, 2)), group.roi.value)
    assert line.GraphicAnnotationUnits == "PIXEL"
    assert line.TrackingUID == group.tracking_uid
    assert "NOT FOR CLINICAL USE" in [text.UnformattedTextValue for text in annotation.TextObjectSequence]


def test_the_capture_is_coloured_on_the_block_and_nowhere_else(made: dict[str, bytes], picture: np.ndarray) -> None:
    pixels = pydicom.dcmread(io.BytesIO(made["sc"])).pixel_array.astype(int)
    assert pixels.shape == (240, 160, 3)
    coloured = (pixels.max(axis=2) - pixels.min(axis=2)) > 40
    coloured[190:] = False  # the scale of the colours
    rows, columns = BLOCK
    assert coloured[rows, columns][5:-5, 5:-5].all()
    coloured[rows.start - 24 : rows.stop + 8, columns.start - 7 : columns.stop + 7] = False  # the number stands above
    assert not coloured.any()
    # Away from map and captions the radiograph is as it was.
    np.testing.assert_array_equal(pixels[100:180, :80], np.repeat(picture[100:180, :80, None], 3, axis=2))


def test_the_same_arguments_give_the_same_bytes(
    write, flagged: Finding, provenance: Provenance, picture: np.ndarray
) -> None:
    path = write()
    first = make_objects(path, flagged, provenance, KINDS, picture=picture)
    time.sleep(1.1)  # the clock of DICOM has seconds
    again = make_objects(path, flagged, provenance, KINDS, picture=picture)
    assert set(first) == set(KINDS)
    for kind in KINDS:
        assert first[kind] == again[kind], kind


def test_a_kind_alone_has_the_bytes_that_it_has_among_others(
    write, flagged: Finding, provenance: Provenance, picture: np.ndarray
) -> None:
    path = write()
    together = make_objects(path, flagged, provenance, KINDS, picture=picture)
    for kind in KINDS:
        assert make_objects(path, flagged, provenance, [kind], picture=picture)[kind] == together[kind]


def test_images_of_a_study_share_a_series_of_each_kind(
    write, flagged: Finding, provenance: Provenance, picture: np.ndarray
) -> None:
    study = "1.2.3.4"
    one = write(lambda dataset: setattr(dataset, "StudyInstanceUID", study), "1.dcm", "1")
    two = write(lambda dataset: setattr(dataset, "StudyInstanceUID", study), "2.dcm", "2")
    other = write(name="3.dcm", number="3")
    files = [read(make_objects(path, flagged, provenance, KINDS, picture=picture)) for path in (one, two, other)]
    for kind in KINDS:
        first, second, third = (made[kind] for made in files)
        assert first.SeriesInstanceUID == second.SeriesInstanceUID != third.SeriesInstanceUID
        assert len({made[kind].SOPInstanceUID for made in files}) == 3
    assert len({made.SeriesInstanceUID for made in files[0].values()}) == len(KINDS)
    # Every UID that is not the source's own changes with the model.
    changed = read(make_objects(one, flagged, replace(provenance, model_digest="e" * 64), KINDS, picture=picture))
    known = set(_uids(pydicom.dcmread(one)))
    for kind in KINDS:
        assert not (set(_uids(changed[kind])) & set(_uids(files[0][kind]))) - known, kind


def _uids(dataset: Dataset) -> list[str]:
    """Of instances, series and so on; those of classes and encodings are the standard's."""
    return [
        uid
        for element in dataset.iterall()
        if element.VR == "UI"
        for uid in ([element.value] if element.VM == 1 else element.value or [])
        if not uid.startswith("1.2.840.10008.")
    ]


def test_no_uid_is_drawn_at_random_or_of_another_root(made: dict[str, bytes], write) -> None:
    source = set(_uids(pydicom.dcmread(write())))
    for kind, dataset in read(made).items():
        for uid in set(_uids(dataset)) - source:
            assert uid.startswith("2.25."), (kind, uid)


def test_every_object_says_whose_it_is_and_what_for(made: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    for kind, file in made.items():
        (folder / f"{kind}.dcm").write_bytes(file)
        assert "not for clinical use" in pydicom.dcmread(io.BytesIO(file)).SeriesDescription
    items = build_worklist(folder, IntendedUse())
    assert [item.verdict.aside for item in items] == [Aside.OWN_OUTPUT] * len(KINDS)


def test_nothing_flagged_leaves_the_report_the_map_and_the_overlay(
    write, quiet_image: Finding, provenance: Provenance, picture: np.ndarray
) -> None:
    made = make_objects(write(), quiet_image, provenance, KINDS, picture=picture)
    assert set(made) == {"sc", "seg_fractional", "sr"}
    uncalibrated = replace(quiet_image, threshold=None, flagged=None, p_value=None)
    assert set(make_objects(write(), uncalibrated, provenance, KINDS, picture=picture)) == {
        "sc",
        "seg_fractional",
        "sr",
    }


def test_a_constant_map_has_neither_regions_nor_a_fraction(
    write, flagged: Finding, provenance: Provenance, picture: np.ndarray
) -> None:
    flat = replace(flagged, map=np.full((32, 32), 0.5, dtype=np.float32))
    made = make_objects(write(), flat, provenance, KINDS, picture=picture)
    assert set(made) == {"sc", "sr"}
    pixels = read(made)["sc"].pixel_array
    np.testing.assert_array_equal(pixels[100:180], np.repeat(picture[100:180, :, None], 3, axis=2))


def test_a_region_inside_the_box_of_another_stays(write, provenance: Provenance, picture: np.ndarray) -> None:
    """An angle whose box holds a second region: neither erases the other."""
    grid = hot(slice(4, 24), slice(4, 8)) + 0
    grid[20:24, 4:28] = 0.9
    grid[6:10, 16:20] = 0.9
    finding = Finding(0.9, grid, 0.01, 0.5, True)
    made = read(make_objects(write(), finding, provenance, ["seg", "sr"], picture=picture, region_share=0.3))
    _, count = ndimage.label(made["seg"].pixel_array)
    assert count == 2


def test_a_picture_that_is_not_the_radiographs_is_refused(
    write, flagged: Finding, provenance: Provenance, picture: np.ndarray
) -> None:
    with pytest.raises(DataError, match=r"its header says \(240, 160\)"):
        make_objects(write(), flagged, provenance, ["sc"], picture=np.ascontiguousarray(picture.T))
    with pytest.raises(ConfigError, match="needs the picture"):
        make_objects(write(), flagged, provenance, ["sc"], picture=None)


def test_an_unknown_kind_is_refused(write, flagged: Finding, provenance: Provenance) -> None:
    with pytest.raises(ConfigError, match=r"output 'pdf' is unknown: use sc, seg"):
        make_objects(write(), flagged, provenance, ["pdf"], picture=None)


def test_the_objects_belong_to_the_study_of_the_source(made: dict[str, bytes], write) -> None:
    header = read_header(write())
    for kind, dataset in read(made).items():
        assert dataset.StudyInstanceUID == header.study, kind
        assert header.sop_instance in [
            element.value for element in dataset.iterall() if element.keyword == "ReferencedSOPInstanceUID"
        ], kind


def test_the_map_of_a_picture_of_its_own_size_is_not_shifted(
    write, provenance: Provenance, picture: np.ndarray
) -> None:
    exact = Finding(1, hot(slice(60, 90), slice(100, 130), grid=(240, 160)), 0.01, 0.5, True)
    files = make_objects(write(), exact, provenance, ["sr", "seg"], picture=None)
    (group,) = hd.sr.srread(io.BytesIO(files["sr"])).content.get_planar_roi_measurement_groups()
    assert group.roi.value.tolist() == [[100, 60], [130, 60], [130, 90], [100, 90], [100, 60]]
    mask = hd.seg.segread(io.BytesIO(files["seg"])).pixel_array
    assert np.argwhere(mask).min(axis=0).tolist() == [60, 100]
    assert np.argwhere(mask).max(axis=0).tolist() == [89, 129]


def test_nothing_of_the_patient_is_logged_or_warned_of(
    write,
    flagged: Finding,
    provenance: Provenance,
    picture: np.ndarray,
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> None:
    def damage(dataset: FileDataset) -> None:
        dataset.StudyDate, dataset.PatientID = "CANARY 1", "CANARY" * 20
        dataset.StudyInstanceUID = "1.2.CANARY"

    path = write(damage)
    recwarn.clear()
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        made = make_objects(path, flagged, provenance, KINDS, picture=picture)
    assert set(made) == set(KINDS)
    assert caplog.text == ""
    assert len(recwarn) == 0
