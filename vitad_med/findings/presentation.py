"""Grayscale Softcopy Presentation State: the radiograph as its file shows it, with the regions outlined."""

from __future__ import annotations

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
from pydicom.multival import MultiValue

from vitad_med.findings.making import NOTICE, Making, to_bytes

_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def make_presentation(making: Making) -> bytes:
    """A closed polyline a region with its number, and a notice.

    The window is the one that scoring looked through: a presentation state without one would show the full range of
    the stored bits.
    """
    image = _first_window(making.source.image)
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
    return to_bytes(made, making)


def _first_window(image: Dataset) -> Dataset:
    """The image with its first VOI LUT, else its first window, and no other."""
    one = Dataset()
    one.update(image)
    if one.get("VOILUTFunction") not in _FUNCTIONS:  # scoring looks through windows of these alone
        one.pop("VOILUTFunction", None)
    if one.get("VOILUTSequence"):
        one.VOILUTSequence = one.VOILUTSequence[:1]
        for keyword in ("WindowCenter", "WindowWidth"):
            if keyword in one:
                del one[keyword]
        return one
    for keyword in ("WindowCenter", "WindowWidth"):
        value = one.get(keyword)
        if isinstance(value, MultiValue):
            setattr(one, keyword, value[0])
    return one
