"""Weak and strong views of a whole batch at once."""

from fewlabels.views.images import ImageViews
from fewlabels.views.vectors import VectorViews

Views = ImageViews | VectorViews

__all__ = ["ImageViews", "VectorViews", "Views"]
