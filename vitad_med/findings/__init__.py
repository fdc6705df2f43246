"""What scoring found in one radiograph, and the DICOM objects that take it back to the archive."""
