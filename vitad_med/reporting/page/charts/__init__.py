"""Charts of the report as inline SVG, drawn by matplotlib without a display."""
