"""Codes of DICOM that triage knows: storage classes, anatomical regions, projections."""

from __future__ import annotations

CR = "1.2.840.10008.5.1.4.1.1.1"
DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
DICOMDIR = "1.2.840.10008.1.3.10"

PROJECTION_RADIOGRAPHY = frozenset({CR, DX_FOR_PRESENTATION, DX_FOR_PROCESSING})
MODALITIES = ("CR", "DX")

_OTHERS = (
    "AR AU BI BMD CT CTPROTOCOL DG DOC ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT IVUS KER KO LEN LS MG MR M3D "
    "NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PLAN PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN "
    "RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XAPROTOCOL XC"
)
OTHER_MODALITIES = frozenset(_OTHERS.split())
"""The other defined terms of Modality (0008,0060), PS3.3 C.7.3.1.1.1."""

COLOURS = frozenset(
    {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB", "PALETTE COLOR"}
)
"""Defined terms of PhotometricInterpretation (0028,0004), PS3.3 C.7.6.3.1.2."""

MANUFACTURER = "vitad_med"
"""Manufacturer (0008,0070) of the objects that this package writes, by which it knows them again."""

CHEST_WORDS = frozenset({"CHEST", "THORAX", "LUNG", "LUNGS", "TORAX", "CHEST PA", "CHEST AP", "CHESTPA", "CHESTAP"})
"""BodyPartExamined (0018,0015): the defined terms of PS3.16 Annex L, and what devices write in their place."""

CHEST_CODES = frozenset({"816094009", "51185008", "43799004", "39607008", "T-D3000", "T-D3200", "T-28000"})
"""AnatomicRegionSequence (0008,2218): chest, thoracic cavity and lung in SNOMED CT and its former codes."""

# ViewCodeSequence (0054,0220), PS3.16 CID 4010, in SNOMED CT and its former codes.
POSTERO_ANTERIOR = frozenset({"272479007", "R-10214", "R-40888"})
ANTERO_POSTERIOR = frozenset({"399348003", "R-10206"})
LATERAL_CODES = frozenset(
    {
        *("399067008", "R-102CD"),  # lateral
        *("399173006", "R-10236"),  # left lateral
        *("399198007", "R-10232"),  # right lateral
        *("399260004", "R-10224"),  # medio-lateral
        *("399352003", "R-10228"),  # latero-medial
    }
)

LATERAL_POSITIONS = frozenset({"LL", "RL", "LLD", "RLD", "LAT", "LATERAL", "LEFT LATERAL", "RIGHT LATERAL", "ML", "LM"})
"""ViewPosition (0018,5101): the defined terms for laterals and decubitus, and what devices write in their place."""

MANUFACTURERS = {
    "Agfa": "agfa",
    "Canon": "canon",
    "Carestream": "carestream",
    "Fujifilm": "fuji",
    "GE HealthCare": "ge medical",
    "Hologic": "hologic",
    "Kodak": "kodak",
    "Konica Minolta": "konica",
    "Philips": "philips",
    "Samsung": "samsung",
    "Shimadzu": "shimadzu",
    "Siemens": "siemens",
}
"""Manufacturers of radiography devices, and a part of what their devices write in Manufacturer (0008,0070)."""
