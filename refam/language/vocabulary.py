"""English words and what they tell of a referring expression, as data. All are lower-cased."""

from refam.language.phrase import Direction, Size

__all__ = ["is_plural", "is_stop_word", "singulars"]


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


STOP_WORDS = words(
    """
    a an the this that these those some any each every either neither no such same other others another all both
    thing things object objects item items
    i me my you your he him his she her hers it its we us our they them their one ones
    who whom whose which what where when while why how
    of on in at by to from with without for into onto over under above below beneath underneath behind beside besides
    between among amongst against along across around near inside outside within off out up down through toward towards
    about as than next there here away
    and or but nor so if then also just only very too quite more most less least not non except excluding
    is are was were be been being am has have had having do does did doing can could will would shall should may might
    must that's who's which's it's there's i'd i'm
    """
)
PRONOUNS = words(
    "one ones thing things object objects item items it them those these that something anything everything"
)

SIDES = {
    "left": Direction.LEFT,
    "leftmost": Direction.LEFT,
    "lefthand": Direction.LEFT,
    "right": Direction.RIGHT,
    "rightmost": Direction.RIGHT,
    "righthand": Direction.RIGHT,
    "top": Direction.TOP,
    "topmost": Direction.TOP,
    "upper": Direction.TOP,
    "uppermost": Direction.TOP,
    "highest": Direction.TOP,
    "bottom": Direction.BOTTOM,
    "bottommost": Direction.BOTTOM,
    "lower": Direction.BOTTOM,
    "lowermost": Direction.BOTTOM,
    "lowest": Direction.BOTTOM,
    "middle": Direction.MIDDLE,
    "middlemost": Direction.MIDDLE,
    "center": Direction.MIDDLE,
    "centre": Direction.MIDDLE,
    "central": Direction.MIDDLE,
    "centermost": Direction.MIDDLE,
    "centremost": Direction.MIDDLE,
}
PLAIN_SIDES = words("left right top bottom middle center centre")
# What follows a side that belongs to the thing's name, or says how it is turned
TURNED = words("turn turns arrow arrows angle handed winger")
NAMED_BY_SIDE = {"top": words("hat hats coat coats"), "middle": words("finger fingers"), "bottom": words("bracket")}
PARTS = words("side corner part edge end half area third quarter most portion section")
PICTURE = words("image picture photo photograph frame screen scene view shot pic")

SIZES = {
    **dict.fromkeys(words("big bigger biggest large larger largest huge giant enormous"), Size.BIG),
    **dict.fromkeys(words("small smaller smallest little littler littlest tiny tinier tiniest"), Size.SMALL),
    **dict.fromkeys(words("tall taller tallest"), Size.TALL),
    **dict.fromkeys(words("shorter shortest"), Size.SHORT),
    **dict.fromkeys(words("wide wider widest broadest"), Size.WIDE),
    **dict.fromkeys(words("narrower narrowest thinnest"), Size.NARROW),
}
# Of "the nearest car" the size tells; "the car nearest the tree" is a relation
CLOSENESS = {
    **dict.fromkeys(words("nearest closest"), Size.BIG),
    **dict.fromkeys(words("farthest furthest"), Size.SMALL),
}
GROUPS = words("group crowd set collection number lot lots")
ORDINALS = {
    name: number
    for number, name in enumerate(
        ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"], start=1
    )
}
NUMBERS = {
    name: number
    for number, name in enumerate(
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"], start=1
    )
}
ALL = words("all every each any several many multiple some few various")

# Sequences of words, longest first, that put the target in a relation to what follows
LINKS = {
    "in front of": Direction.IN_FRONT,
    "in between": Direction.BETWEEN,
    "in back of": Direction.BEHIND,
    "inside of": Direction.INSIDE,
    "outside of": Direction.OUTSIDE,
    "next to": Direction.NEAR,
    "close to": Direction.NEAR,
    "closer to": Direction.NEAR,
    "closest to": Direction.NEAR,
    "near to": Direction.NEAR,
    "nearer to": Direction.NEAR,
    "nearest to": Direction.NEAR,
    "adjacent to": Direction.NEAR,
    "attached to": Direction.NEAR,
    "leaning on": Direction.NEAR,
    "leaning against": Direction.NEAR,
    "far away from": Direction.FAR,
    "far from": Direction.FAR,
    "further from": Direction.FAR,
    "farther from": Direction.FAR,
    "furthest from": Direction.FAR,
    "farthest from": Direction.FAR,
    "furthest away from": Direction.FAR,
    "farthest away from": Direction.FAR,
    "away from": Direction.FAR,
    "higher than": Direction.TOP,
    "lower than": Direction.BOTTOM,
    "above": Direction.TOP,
    "over": Direction.TOP,
    "below": Direction.BOTTOM,
    "under": Direction.BOTTOM,
    "beneath": Direction.BOTTOM,
    "underneath": Direction.BOTTOM,
    "behind": Direction.BEHIND,
    "between": Direction.BETWEEN,
    "among": Direction.NEAR,
    "amongst": Direction.NEAR,
    "inside": Direction.INSIDE,
    "within": Direction.INSIDE,
    "outside": Direction.OUTSIDE,
    "near": Direction.NEAR,
    "nearest": Direction.NEAR,
    "closest": Direction.NEAR,
    "beside": Direction.NEAR,
    "besides": Direction.NEAR,
    "alongside": Direction.NEAR,
    "by": Direction.NEAR,
    "around": Direction.NEAR,
    "along": Direction.NEAR,
    "against": Direction.NEAR,
    "touching": Direction.NEAR,
    "on": Direction.ON,
    "onto": Direction.ON,
    "upon": Direction.ON,
    "in": Direction.ON,
}
LINK_PHRASES = sorted(((tuple(text.split()), link) for text, link in LINKS.items()), key=lambda pair: -len(pair[0]))
# How far a thing seems to be from who took the picture is read off its size
DEPTHS = {
    ("in", "the", "foreground"): Size.BIG,
    ("in", "foreground"): Size.BIG,
    ("in", "the", "front"): Size.BIG,
    ("in", "front"): Size.BIG,
    ("in", "the", "background"): Size.SMALL,
    ("in", "background"): Size.SMALL,
    ("in", "the", "back"): Size.SMALL,
    ("in", "back"): Size.SMALL,
    ("in", "the", "distance"): Size.SMALL,
}
VIEWERS = words("camera viewer photographer observer us me")

# Before a noun these say how it looks; whatever else stands there may belong to its name, as in "traffic light"
ATTRIBUTES = words(
    """
    red blue green yellow orange purple pink brown black white gray grey silver golden beige tan cyan magenta turquoise
    violet maroon navy teal cream colored coloured colorful colourful dark bright pale
    striped spotted dotted checkered checked patterned plain
    wooden metal metallic plastic leather paper open closed empty full round square rectangular
    """
)

CLAUSES = words(
    """
    that which who whose whom where when while as is are was were has have had with for from to at off into through
    toward towards about across opposite
    """
)
ACTIONS = words(
    """
    wearing holding standing sitting riding looking facing carrying eating playing walking running lying laying
    leaning using pointing turned turning heading going moving swimming flying driving parked placed located hanging
    jumping drinking watching pulling pushing made having showing containing covered painted surrounded
    """
)
DIRECTED = words("facing looking pointing turned turning heading going moving walking running swimming flying driving")
RELATIVES = words("that which who whose whom where that's who's which's")
COPULAS = words("is are was were be being that's who's which's")
NEGATIONS = words("not never non neither nor")
DETERMINERS = words("a an the this that these those my your his her its our their")
SINGULAR_DETERMINERS = words("a an this that every each another either")

ASKED = words("where what which who how")
# Verbs that only ask for a mask, and those that do where an article, a number or "me" follows
COMMANDS = words("segment find detect locate highlight identify outline annotate extract isolate")
AMBIGUOUS_COMMANDS = words(
    "mask label mark paint select show cut pick choose give get draw point look looking want see need"
)
COURTESIES = words(
    """
    please kindly just can could would do you i we am will i'd i'm let's lets us like want need to me now hey hi for at
    """
)
NEGATED_COMMANDS = words("dont ignore skip omit exclude avoid")

IRREGULAR_PLURALS = {
    "people": "person",
    "men": "man",
    "women": "woman",
    "children": "child",
    "mice": "mouse",
    "geese": "goose",
    "feet": "foot",
    "teeth": "tooth",
    "oxen": "ox",
    "leaves": "leaf",
    "knives": "knife",
    "wolves": "wolf",
    "shelves": "shelf",
    "loaves": "loaf",
    "calves": "calf",
    "cattle": "cattle",
    "dice": "dice",
}
# Words in -s that name one thing
SINGULARS_IN_S = words(
    """
    glasses sunglasses eyeglasses goggles scissors pants jeans shorts trousers tights leggings pajamas pyjamas pliers
    tweezers binoculars headphones earphones tongs shears boxers overalls stairs
    bus gas lens canvas atlas christmas tennis iris chassis news series species plus walrus octopus cactus virus
    campus menus always perhaps texas asparagus hummus citrus circus us this his its as is was has does yes less
    """
)


def is_stop_word(word: str) -> bool:
    """Whether a lower-cased word only serves grammar."""
    return word in STOP_WORDS


def is_plural(word: str) -> bool:
    """Whether a noun names several things, as far as its ending tells. "dice" and other words that may be either are
    singular."""
    if word in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[word] != word
    return len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) and word not in SINGULARS_IN_S


def singulars(word: str) -> set[str]:
    """What an English word may be the plural of, and the word itself.

    `inflect` knows more, but takes 2 s to load; `inflection` makes "glofe" of "gloves".
    """
    found = {word, IRREGULAR_PLURALS.get(word, word)}
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        found.add(word[:-1])
    if len(word) > 4 and word.endswith("es"):
        found.add(word[:-2])
    if len(word) > 4 and word.endswith("ies"):
        found.add(word[:-3] + "y")
    return found
