"""Grayscale Softcopy Presentation State: the radiograph as it was scored, with the regions outlined."""

from __future__ import annotations

import numpy as np
from highdicom.content import PresentationLUTTransformation
from highdicom.pr import (
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    GrayscaleSoftcopyPresentationState,
    TextObject,
)
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from vitad_med.data.dicom.windows import Table, Voi
from vitad_med.findings.making import NOTICE, Making, to_bytes


def make_presentation(making: Making, voi: Voi) -> bytes:
    """A closed polyline a region with its number, and a notice.

    The window is the one that scoring looked through: a presentation state without one would show the full range of
    the stored bits.

    Args:
        making: what it is made of.
        voi: the window or VOI LUT.
    """
    image = _without_voi(making.source.image)
    layer = GraphicLayer("ANOMALY", order=1, description=f"Regions flagged by anomaly detection, {NOTICE}")
    outlines, texts = [], []
    rows, columns = making.source.shape
    for number, region in enumerate(making.regions, start=1):
        uid, name = making.tracking(number)
        outlines.append(
            GraphicObject(GraphicTypeValues.POLYLINE, region.polygon, units="PIXEL", tracking_id=name, tracking_uid=uid)
        )
        top, _, left, _ = region.box
        texts.append(TextObject(str(number), "PIXEL", anchor_point=(left, top), anchor_point_visible=False))
    box = (0.02 * columns, 0.02 * rows, 0.5 * columns, 0.06 * rows)
    texts.append(TextObject(NOTICE.upper(), "PIXEL", bounding_box=box, text_justification="LEFT"))
    made = GrayscaleSoftcopyPresentationState(
        referenced_images=[image],
        content_label="ANOMALY REGIONS",
        content_description=f"Regions flagged by anomaly detection; {NOTICE}",
        graphic_layers=[layer],
        graphic_annotations=[GraphicAnnotation([image], layer, graphic_objects=outlines, text_objects=texts)],
        presentation_lut_transformation=PresentationLUTTransformation(
            "INVERSE" if making.source.inverted else "IDENTITY"
        ),
        **making.common("gsps"),
    )
    made.SoftcopyVOILUTSequence = [_item(voi)]
    if making.source.aspect is not None:  # 1\1 would have viewers show pixels as squares that are none
        for area in made.DisplayedAreaSelectionSequence:
            area.PresentationPixelAspectRatio = list(making.source.aspect)
    return to_bytes(made, making)


def _without_voi(image: Dataset) -> Dataset:
    one = Dataset()
    one.update(image)
    for keyword in ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"):
        one.pop(keyword, None)
    return one


def _item(voi: Voi) -> Dataset:
    """Item of SoftcopyVOILUTSequence (PS3.3 C.11.8); of all images, so that none is named."""
    made = Dataset()
    if isinstance(voi, Table):
        lut = Dataset()
        vr, count = ("SS" if voi.first < 0 else "US"), len(voi.entries) % 2**16
        if vr == "SS" and count >= 2**15:  # the same 16 bits
            count -= 2**16
        lut.add_new("LUTDescriptor", vr, [count, voi.first, 16])
        lut.add_new("LUTData", "OW", np.rint(voi.entries * (2**16 - 1)).astype("<u2").tobytes())
        made.VOILUTSequence = [lut]
    else:
        made.WindowCenter, made.WindowWidth = (DSfloat(value, auto_format=True) for value in (voi.centre, voi.width))
        made.VOILUTFunction = voi.function
    return made
