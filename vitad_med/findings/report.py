"""Comprehensive structured report after TID 1500: what anomaly detection says of a radiograph, and where."""

from __future__ import annotations

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    GraphicTypeValues,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from vitad_med.data.dicom.codes import MANUFACTURER
from vitad_med.findings import codes as ours
from vitad_med.findings.finding import Finding
from vitad_med.findings.making import NOTICE, Making, to_bytes
from vitad_med.findings.regions import Region
from vitad_med.findings.uids import derived_uid


def make_report(making: Making) -> bytes:
    """One group for the image, with score, threshold, p-value and a sentence; one a region, with its outline."""
    provenance = making.provenance
    device = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", "", provenance),
        name=provenance.method,
        manufacturer_name=MANUFACTURER,
        model_name=provenance.method,
    )
    regions = [_of_region(making, number, one) for number, one in enumerate(making.regions, start=1)]
    report = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(
                observer_type=codes.DCM.Device, observer_identifying_attributes=device
            )
        ),
        procedure_reported=ours.PROCEDURE,
        imaging_measurements=[_of_image(making), *regions],
        title=codes.DCM.ImagingMeasurementReport,
    )
    made = ComprehensiveSR(
        evidence=[making.source.image],
        content=report,
        is_complete=True,
        is_verified=False,
        coding_schemes=ours.coding_schemes(),
        **making.common("sr"),
    )
    return to_bytes(made, making)


def sentences(finding: Finding, regions: int) -> str:
    """The result of an image in plain words."""
    score, threshold = _number(finding.score), finding.threshold
    if threshold is None:
        words = [
            f"The anomaly score of this radiograph is {score}.",
            "This run has no calibration and so no threshold: the image is neither flagged nor not flagged.",
        ]
    elif finding.flagged is None:
        words = [
            "Not judged by anomaly detection: the image is outside of the bundle's intended use,",
            f"for which the threshold {_number(threshold)} was made.",
            f"Its anomaly score is {score}; it is neither flagged nor not flagged.",
        ]
    elif finding.flagged:
        words = [
            "Flagged by anomaly detection:",
            f"the anomaly score {score} is above the threshold {_number(threshold)}.",
            _where(regions),
        ]
    else:
        words = [
            "Nothing flagged by anomaly detection:",
            f"the anomaly score {score} is not above the threshold {_number(threshold)}.",
            "This does not rule out a disease.",
        ]
    if _outside_use(finding):
        words.append(
            "The image is outside of what the algorithm is intended for: the threshold was not made for such images, "
            "and there is no p-value."
        )
    words.append("An anomaly score is not the probability of a disease.")
    words.append(f"{NOTICE.capitalize()}.")
    return " ".join(words)


def _outside_use(finding: Finding) -> bool:
    """Judged against a threshold all the same; an image that is not judged says so in its result."""
    return finding.threshold is not None and finding.flagged is not None and finding.p_value is None


def _result(finding: Finding) -> Code:
    if finding.threshold is None:
        return ours.NO_THRESHOLD
    if finding.flagged is None:
        return ours.NOT_JUDGED
    return ours.FLAGGED if finding.flagged else ours.NOT_FLAGGED


def _where(regions: int) -> str:
    if not regions:
        return "No region is outlined, because the map is the same everywhere."
    which = "One region is" if regions == 1 else f"{regions} regions are"
    return f"{which} outlined where the anomaly map of this image is highest."


def _of_image(making: Making) -> MeasurementsAndQualitativeEvaluations:
    finding, image = making.finding, making.source.image
    measurements = [_measurement(ours.SCORE, finding.score, ours.SCORE_UNIT)]
    if finding.threshold is not None:
        measurements.append(_measurement(ours.THRESHOLD, finding.threshold, ours.SCORE_UNIT))
    if finding.p_value is not None:
        measurements.append(_measurement(ours.P_VALUE, finding.p_value, ours.NO_UNIT))
    evaluations = [QualitativeEvaluation(ours.RESULT, _result(finding))]
    if _outside_use(finding):
        evaluations.append(QualitativeEvaluation(ours.USE, ours.OUTSIDE_USE))
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=making.uid("image"), identifier="Image"),
        finding_type=ours.IMAGE,
        algorithm_id=_algorithm(making),
        measurements=measurements,
        qualitative_evaluations=evaluations,
        source_images=[SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)],
    )
    group[0].ContentSequence.append(
        TextContentItem(
            name=CodedConcept.from_code(ours.COMMENT),
            value=sentences(finding, len(making.regions)),
            relationship_type=RelationshipTypeValues.CONTAINS,
        )
    )
    return group


def _of_region(making: Making, number: int, region: Region) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    image, spacing = making.source.image, making.source.spacing
    uid, name = making.tracking(number)
    measurements = [
        _measurement(ours.PEAK, region.peak, ours.SCORE_UNIT),
        _measurement(ours.AREA, region.area, ours.PIXELS),
    ]
    if spacing is not None:
        area = region.area * spacing.rows * spacing.columns
        measurements.append(_measurement(ours.AREA_IN_MM2[spacing.source], area, ours.MM2))
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=uid, identifier=name),
        referenced_region=ImageRegion(
            graphic_type=GraphicTypeValues.POLYLINE,
            graphic_data=np.asarray(region.polygon),
            source_image=SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID),
        ),
        finding_type=ours.REGION,
        algorithm_id=AlgorithmIdentification(making.provenance.method, making.provenance.version or "unknown"),
        measurements=measurements,
    )


def _algorithm(making: Making) -> AlgorithmIdentification:
    provenance = making.provenance
    digests = {
        "model": provenance.model_digest,
        "config": provenance.config_digest,
        "calibration": provenance.calibration_digest,
        "software": provenance.software_digest,
    }
    return AlgorithmIdentification(
        name=provenance.method,
        version=provenance.version or "unknown",
        manufacturer=MANUFACTURER,
        family=ours.ARTIFICIAL_INTELLIGENCE,
        parameters=[
            f"score: {provenance.score_rule}",
            f"region_share: {making.region_share:g}",
            *(f"{name} SHA-256: {digest}" for name, digest in digests.items() if digest),
        ],
    )


def _measurement(name: Code, value: float, unit: Code) -> Measurement:
    # Six significant digits, as everywhere a score is written.
    return Measurement(name=name, value=value if isinstance(value, int) else float(f"{value:.6g}"), unit=unit)


def _number(value: float) -> str:
    return f"{value:.6g}"
