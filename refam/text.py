"""Expression and magnets -> text tokens, each with the role it plays in the heatmap."""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from enum import StrEnum

from refam.backbones import Piece
from refam.errors import ExpressionError
from refam.language.cursor import find_words
from refam.language.phrase import Phrase
from refam.language.reading import read_phrase
from refam.language.vocabulary import is_plural, is_stop_word, singulars

__all__ = ["Role", "Text", "Token", "Tokenize", "choose_magnets", "read_names", "read_text", "split_words"]

MAX_TOKENS = 512  # the longest text that FLUX was trained on
MAX_CHARACTERS = 4096  # refused before tokenizing, which takes long for a text of megabytes
SHORT_WORD = 2  # letters
SPELLED = 1.5  # letters to a piece: with fewer, a word is not known, but spelled out


Tokenize = Callable[[Sequence[str]], list[list[Piece]]]  # see refam.backbones.Backbone


class Role(StrEnum):
    """What a token is: part of a content word, of a word for a side ("left") or a size ("big"), of a word that the
    model does not know, of a stop word or of a magnet; an end, which the text encoder adds: `</s>`, or a chat's
    template; a bare piece, which has no letter or digit of its own; or part of another name that is looked for in the
    same pass."""

    WORD = "word"
    SIDE = "side"
    SIZE = "size"
    UNKNOWN = "unknown"
    STOP = "stop word"
    MAGNET = "magnet"
    END = "end"
    BARE = "bare"
    OTHER_NAME = "other name"


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
    """What the transformer reads.

    Attributes:
        strings: the phrase's text, or those of all names that are looked for in one pass, and the magnets, which are
            read side by side.
        tokens: those of all strings, in order.
        phrase: what the expression says.
        unknown: words that matter and that the model does not know; they are not looked for.
    """

    strings: tuple[str, ...]
    tokens: tuple[Token, ...]
    phrase: Phrase
    unknown: tuple[str, ...]


def read_text(expression: str, tokenize: Tokenize, magnets: str = "", colours: str = "") -> Text:
    """Read an expression, and tokenize it and its magnets, each as a string of its own.

    magnets, colours: words separated by spaces, see `choose_magnets`.
    Raises ExpressionError for an expression that is no string, empty, too long, that names no thing or none in words
    that the model knows, or that cannot be answered; see `read_phrase`.
    """
    if not isinstance(expression, str):
        raise ExpressionError(f"The expression is of type {type(expression).__name__}; give a string.")
    lowered = " ".join(expression.lower().split())
    if not lowered:
        raise ExpressionError("The expression is empty; say what to look for, such as 'the red ball on the left'.")
    if len(lowered) > MAX_CHARACTERS:
        raise ExpressionError(f"The expression has {len(lowered)} characters; shorten it to {MAX_CHARACTERS} or less.")
    if all(is_stop_word(word.text) for word in find_words(lowered)):
        raise ExpressionError(f"No word in {expression!r} names a thing; say what to look for, such as 'the red ball'.")

    phrase = _with_plurals_known(read_phrase(lowered), tokenize)
    appended = choose_magnets({word.text for word in phrase.words}, magnets, colours)
    pieces, *others = tokenize((phrase.text, *appended))
    unknown = _unknown_words(phrase, pieces)
    _check_known(phrase, unknown)

    tokens = [_expression_token(piece, phrase, unknown) for piece in pieces]
    tokens += _magnet_tokens(others)
    if len(tokens) > MAX_TOKENS:
        raise ExpressionError(
            f"The expression and its magnets have {len(tokens)} tokens; shorten it, at most {MAX_TOKENS} can be read."
        )
    missed = sorted(unknown & {index for thing in phrase.target.and_others() for index in thing.words})
    return Text((phrase.text, *appended), tuple(tokens), phrase, tuple(phrase.words[index].text for index in missed))


def read_names(names: Sequence[str], tokenize: Tokenize, magnets: str = "", colours: str = "") -> list[Text]:
    """Read several names of things, such as "mug" and "traffic light", that are looked for in one pass: the texts have
    the same strings, and each calls the tokens of the others OTHER_NAME. Where a name says no number, all things that
    it names are meant.

    Raises ExpressionError, with the name in its message, for what `read_text` raises it for, and for too many names.
    """
    alone = [_read_name(name, tokenize) for name in names]
    words = {word.text for text in alone for word in text.phrase.words}
    appended = choose_magnets(words, magnets, colours)
    strings = (*(text.phrase.text for text in alone), *appended)
    pieces = tokenize(strings)
    shared = _magnet_tokens(pieces[len(alone) :])
    count = sum(map(len, pieces))
    if count > MAX_TOKENS:
        raise ExpressionError(
            f"The {len(names)} names and their magnets have {count} tokens; at most {MAX_TOKENS} can be read in one "
            "pass. Look for fewer."
        )
    texts = []
    for own in alone:
        tokens = [
            _expression_token(piece, own.phrase, frozenset()) if text is own else _other_token(piece)
            for text, parts in zip(alone, pieces, strict=False)
            for piece in parts
        ]
        target = own.phrase.target
        phrase = replace(own.phrase, target=replace(target, count=None)) if target.is_one else own.phrase
        texts.append(Text(strings, (*tokens, *shared), phrase, own.unknown))
    return texts


def _read_name(name: str, tokenize: Tokenize) -> Text:
    """A name's text, all words of which the model knows: the rest of "class 7" would be another name."""
    refused = f"The name {name!r} cannot be looked for."
    try:
        text = read_text(name, tokenize)
    except ExpressionError as error:
        raise ExpressionError(f"{refused} {error}") from None
    if text.unknown:
        unknown = ", ".join(repr(word) for word in text.unknown)
        raise ExpressionError(f"{refused} The model does not know {unknown}; name the thing in other, English words.")
    return text


def split_words(strings: Sequence[str]) -> list[list[Piece]]:
    """A tokenizer for no model in particular, to which every word is known."""
    return [[Piece(word.text, word.start, word.end, special=False) for word in find_words(each)] for each in strings]


def choose_magnets(words: Set[str], magnets: str, colours: str) -> tuple[str, ...]:
    """The magnets to append: a magnet that is one of the colours, and one of the words already, is replaced by the
    first colour that is not."""
    palette = colours.split()
    unused = [colour for colour in palette if colour not in words]
    return tuple(
        unused[0] if magnet in palette and magnet in words and unused else magnet for magnet in magnets.split()
    )


def _magnet_tokens(magnets: Sequence[Sequence[Piece]]) -> list[Token]:
    return [_token(piece, Role.MAGNET) for pieces in magnets for piece in pieces]


def _with_plurals_known(phrase: Phrase, tokenize: Tokenize) -> Phrase:
    """The phrase with each plural that the tokenizer takes apart, while it knows the singular as it is, as that."""

    def length(word: str) -> int:
        return len(tokenize([word])[0])

    text = phrase.text
    for word in reversed(phrase.words):
        if is_plural(word.text):
            shorter = [single for single in sorted(singulars(word.text)) if length(single) < length(word.text)]
            if shorter:
                text = text[: word.start] + min(shorter, key=length) + text[word.end :]
    return replace(phrase, text=text, words=find_words(text))


def _unknown_words(phrase: Phrase, pieces: list[Piece]) -> frozenset[int]:
    """Indices of the words in which a piece is unknown, or that fall into letters."""
    unknown = set()
    for index, word in enumerate(phrase.words):
        own = [piece for piece in pieces if piece.start < word.end and piece.end > word.start and piece.text != "▁"]
        spelled = len(word.text) > SHORT_WORD and len(word.text) < SPELLED * len(own)
        if spelled or any(piece.unknown for piece in own):
            unknown.add(index)
    return frozenset(unknown)


def _check_known(phrase: Phrase, unknown: frozenset[int]) -> None:
    target = phrase.target
    if target.words and target.words <= unknown:
        raise ExpressionError(
            f"The model knows none of the words {_listed(phrase, target.words)}; describe the thing in other, English "
            "words."
        )
    if target.lacking & unknown:
        raise ExpressionError(
            f"The model does not know {_listed(phrase, target.lacking & unknown)}, and so cannot leave it out; use "
            "other, English words."
        )


def _listed(phrase: Phrase, indices: frozenset[int]) -> str:
    return ", ".join(repr(phrase.words[index].text) for index in sorted(indices))


def _expression_token(piece: Piece, phrase: Phrase, unknown: frozenset[int]) -> Token:
    """A token takes the role of the word it belongs to; of several, of the first that is no stop word."""
    if piece.text == "▁":
        return Token(piece.text, Role.BARE)
    stop_word = None
    for index, word in enumerate(phrase.words):
        if piece.start < word.end and piece.end > word.start:
            if not is_stop_word(word.text):
                return Token(piece.text, _role(index, phrase, unknown), index)
            stop_word = index if stop_word is None else stop_word
    return _token(piece, Role.BARE) if stop_word is None else Token(piece.text, Role.STOP, stop_word)


def _role(word: int, phrase: Phrase, unknown: frozenset[int]) -> Role:
    if word in phrase.sides:
        return Role.SIDE
    if word in phrase.sizes:
        return Role.SIZE
    return Role.UNKNOWN if word in unknown else Role.WORD


def _other_token(piece: Piece) -> Token:
    return Token(piece.text, Role.END if piece.special else Role.OTHER_NAME)


def _token(piece: Piece, role: Role) -> Token:
    if piece.special:
        return Token(piece.text, Role.END)
    return Token(piece.text, Role.BARE if piece.text == "▁" else role)
