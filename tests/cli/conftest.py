from export_fixtures import exported, layout, photos
from score_fixtures import files, index, no_corenlp

__all__ = ["exported", "files", "index", "layout", "no_corenlp", "photos"]
