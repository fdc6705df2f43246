"""What belongs to a hospital and not to a run: its secret key, and the table from hashed names to its identifiers."""
