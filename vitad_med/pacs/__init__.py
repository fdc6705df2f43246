"""The way to and from a hospital's archive: DICOMweb and DIMSE."""
