"""Image encoders of open_clip and timm behind one interface."""
