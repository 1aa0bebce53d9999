"""A real worker process whose model is a stub; texts are read as RefAM reads them."""

import logging
import sys

from backend.queue.connection import connect
from backend.settings import load_settings
from backend.worker.main import work
from refam.backbones import Piece
from refam.picture import Picture
from refam.text import read_text
from tests.support.stub_worker import StubSegmentation, StubSegmenter


class Reader(StubSegmenter):
    def segment(self, picture: Picture, expression: str) -> StubSegmentation:
        read_text(expression, lambda strings: [[Piece(string, 0, len(string), special=False)] for string in strings])
        return super().segment(picture, expression)


if __name__ == "__main__":
    settings = load_settings()
    logging.basicConfig(level=settings.log_level)
    for name in ("httpx", "httpx2", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.exit(work(connect(settings), settings, lambda _: Reader()))
