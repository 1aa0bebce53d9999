"""Expression and magnets -> text tokens, each with the role it plays in the heatmap."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from refam.backbones import Piece
from refam.errors import ExpressionError
from refam.phrase import Phrase, is_stop_word, read_phrase

__all__ = ["Role", "Text", "Token", "choose_magnets", "read_text"]

MAX_TOKENS = 512  # the longest text that FLUX was trained on
MAX_CHARACTERS = 4096  # refused before tokenizing, which takes long for a text of megabytes


class Role(StrEnum):
    """What a token is: part of a content word, of a word for a side ("left"), of a stop word or of a magnet; the end
    mark `</s>`; or a bare piece, which has no letter or digit of its own."""

    WORD = "word"
    SIDE = "side"
    STOP = "stop word"
    MAGNET = "magnet"
    END = "end"
    BARE = "bare"


@dataclass(frozen=True)
class Token:
    """A text token.

    Attributes:
        text: the tokenizer's spelling, such as "▁gold".
        role: what it is.
        word: index of its word in the expression's phrase; None for magnets, ends and bare pieces.
        sink: whether it is a global attention sink.
        kept: whether its map is part of the heatmap.
    """

    text: str
    role: Role
    word: int | None = None
    sink: bool = False
    kept: bool = False


@dataclass(frozen=True)
class Text:
    """What the transformer reads: the lower-cased expression and the magnets, each encoded apart; the tokens of all in
    order; and what the expression says."""

    strings: tuple[str, ...]
    tokens: tuple[Token, ...]
    phrase: Phrase


def read_text(expression: str, tokenize: Callable[[str], list[Piece]], magnets: str = "", colours: str = "") -> Text:
    """Tokenize an expression and its magnets, each as a string of its own with its own end mark.

    magnets, colours: words separated by spaces, see `choose_magnets`.
    Raises ExpressionError for an expression that is no string, empty, without a content word, or too long.
    """
    if not isinstance(expression, str):
        raise ExpressionError(f"The expression is of type {type(expression).__name__}; give a string.")
    lowered = " ".join(expression.lower().split())
    if not lowered:
        raise ExpressionError("The expression is empty; say what to look for, such as 'the red ball on the left'.")
    if len(lowered) > MAX_CHARACTERS:
        raise ExpressionError(f"The expression has {len(lowered)} characters; shorten it to {MAX_CHARACTERS} or less.")
    phrase = read_phrase(lowered)
    if all(is_stop_word(word.text) for word in phrase.words):
        raise ExpressionError(f"No word in {expression!r} names a thing; say what to look for, such as 'the red ball'.")

    strings = (lowered, *choose_magnets(phrase, magnets, colours))
    tokens = [_expression_token(piece, phrase) for piece in tokenize(lowered)]
    for magnet in strings[1:]:
        tokens += [_token(piece, Role.MAGNET) for piece in tokenize(magnet)]
    if len(tokens) > MAX_TOKENS:
        raise ExpressionError(
            f"The expression and its magnets have {len(tokens)} tokens; shorten it, at most {MAX_TOKENS} can be read."
        )
    return Text(strings, tuple(tokens), phrase)


def choose_magnets(phrase: Phrase, magnets: str, colours: str) -> tuple[str, ...]:
    """The magnets to append: a magnet that is one of the colours, and a word of the phrase already, is replaced by the
    first colour that is not."""
    words = {word.text for word in phrase.words}
    palette = colours.split()
    unused = [colour for colour in palette if colour not in words]
    return tuple(
        unused[0] if magnet in palette and magnet in words and unused else magnet for magnet in magnets.split()
    )


def _expression_token(piece: Piece, phrase: Phrase) -> Token:
    """A token takes the role of the word it belongs to; of several, of the first that is no stop word."""
    if piece.text == "▁":
        return Token(piece.text, Role.BARE)
    stop_word = None
    for index, word in enumerate(phrase.words):
        if piece.start < word.end and piece.end > word.start:
            if not is_stop_word(word.text):
                return Token(piece.text, Role.SIDE if index in phrase.directions else Role.WORD, index)
            stop_word = index if stop_word is None else stop_word
    return _token(piece, Role.BARE) if stop_word is None else Token(piece.text, Role.STOP, stop_word)


def _token(piece: Piece, role: Role) -> Token:
    if piece.special:
        return Token(piece.text, Role.END)
    return Token(piece.text, Role.BARE if piece.text == "▁" else role)
