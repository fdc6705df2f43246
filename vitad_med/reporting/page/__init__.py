"""The report's page: one self-contained HTML file from ``report.json``, the worklist's rows and their pictures."""

from vitad_med.reporting.page.records import Row, Thumbnail
from vitad_med.reporting.page.render import render_page, write_page
from vitad_med.reporting.page.thumbnails import make_thumbnail, store_thumbnails

__all__ = ["Row", "Thumbnail", "make_thumbnail", "render_page", "store_thumbnails", "write_page"]
