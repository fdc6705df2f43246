"""Copies of elements of a file whose text stays as its bytes are, in whatever character set they were written."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

CHARACTER_SET = Tag(0x0008, 0x0005)

_AS_BYTES = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT"})
_AS_BYTES |= {"PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
"""VRs whose bytes are the same in each transfer syntax."""


_FORMS = {
    "AS": re.compile(rb"(\d{3}[DWMY])?[ \0]*"),
    "DS": re.compile(rb"[-+.\deE\\ ]*\0?"),
    "IS": re.compile(rb"[-+\d\\ ]*\0?"),
}
"""Ages and quantities, PS3.5 6.2. Names and dates stay however they are written: they tell whose study it is."""


def copy_elements(source: Dataset, keywords: Iterable[str]) -> Dataset:
    """Elements of a file, as far as it has them.

    Text is copied byte for byte: decoding and encoding anew changes escape sequences of ISO 2022, and loses what a
    wrong SpecificCharacterSet makes unreadable. Elements that are damaged are left out, and so are ages and quantities
    that are not written as one (an age ``62`` without its unit), which would make the copy invalid too.

    Args:
        source: as pydicom read it.
        keywords: of the elements.
    """
    copy = Dataset()
    for keyword in keywords:
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        if tag in source:
            _copy(source, Tag(tag), copy)
    return copy


def keep_bytes(dataset: Dataset) -> None:
    """Make pydicom write what is copied as it is, in explicit VR little endian, instead of decoding it first."""
    for element in list(dataset.elements()):
        if element.VR == "SQ" and isinstance(element, DataElement):
            for item in element.value:
                keep_bytes(item)
    written = dataset.get(CHARACTER_SET)
    encoding = default_encoding if written is None else convert_encodings(written.value)
    dataset.set_original_encoding(False, True, encoding)


def _copy(source: Dataset, tag: BaseTag, copy: Dataset) -> None:
    element = source.get_item(tag)
    vr = _vr(element)
    if isinstance(element, RawDataElement) and vr in _AS_BYTES:
        value = element.value or b""
        if vr in _FORMS and not _FORMS[vr].fullmatch(value):
            return
        value += b"" if len(value) % 2 == 0 else b"\0" if vr == "UI" else b" "
        copy[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
        return
    try:
        element = source[tag]
        if element.VR == "SQ":
            copy[tag] = DataElement(tag, "SQ", Sequence([_copy_item(item) for item in element.value or ()]))
        else:
            copy[tag] = DataElement(tag, element.VR, element.value)
    except Exception:  # pydicom raises a dozen kinds on damaged elements, and none of these is needed
        return


def _copy_item(item: Dataset) -> Dataset:
    copy = Dataset()
    for tag in item.keys():  # noqa: SIM118 - iterating over a Dataset decodes its elements
        if not tag.is_private:
            _copy(item, tag, copy)
    return copy


def _vr(element: DataElement | RawDataElement) -> str:
    """Of a file of implicit VR, or an element that passed through a system which did not know it: the dictionary's."""
    if element.VR not in (None, "UN"):
        return str(element.VR)
    try:
        return dictionary_VR(element.tag)
    except KeyError:
        return "UN"
