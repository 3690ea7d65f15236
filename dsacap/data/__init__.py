"""Captioned images: the generated scenes, COCO-format data sets, photos and predictions."""
