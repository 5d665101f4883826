"""posecli annotates people in images and videos with 17 COCO keypoints."""

__version__ = "0.4.0"
