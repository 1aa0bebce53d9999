"""Segment Anything, one file for each kind of model, behind one small protocol."""

from refam.sam.segmenter import Candidate, SegmentAnything

__all__ = ["Candidate", "SegmentAnything"]
