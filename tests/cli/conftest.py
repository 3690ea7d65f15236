from export_fixtures import exported, layout, photos

__all__ = ["exported", "layout", "photos"]
