"""The header of a PLY file: its elements, their counts and the types of their properties."""

from __future__ import annotations

from dataclasses import dataclass, field

from .raw import parse_error

MAX_HEADER = 65536
TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class Property:
    """`type` is a numpy code; `count_type` is set for lists."""

    name: str
    type: str
    count_type: str = ""


@dataclass
class Element:
    """`count` rows, each with these properties in order."""

    name: str
    count: int
    properties: list[Property] = field(default_factory=list)

    @property
    def has_lists(self) -> bool:
        return any(p.count_type for p in self.properties)


@dataclass(frozen=True)
class Header:
    """`order` is "<", ">" or "" for ASCII; the data begins at byte `start`."""

    order: str
    elements: list[Element]
    start: int


def read_header(content: bytes, where: object) -> Header:
    """Parse up to `end_header`.

    Raises:
        UserError: `E-MESH-PARSE`.
    """
    if content[:3] != b"ply":
        raise parse_error("not a PLY file", where, repr(content[:8]), "'ply'")
    end = content.find(b"end_header", 0, MAX_HEADER)
    line_end = content.find(b"\n", end)
    if end < 0 or line_end < 0:
        raise parse_error("PLY header does not end", where, expected="end_header and a line break")
    order, elements = "", []
    for line in content[:end].decode("latin-1").splitlines()[1:]:
        words = line.split()
        if words[:1] == ["format"]:
            order = _order(words, where)
        elif words[:1] == ["element"]:
            elements.append(_element(words, where))
        elif words[:1] == ["property"]:
            if not elements:
                raise parse_error("PLY property before any element", where, line)
            elements[-1].properties.append(_property(words, where))
    return Header(order, elements, line_end + 1)


def _order(words: list[str], where: object) -> str:
    if len(words) < 2 or words[1] not in _ORDERS:
        raise parse_error("unknown PLY format", where, " ".join(words), " or ".join(_ORDERS))
    return _ORDERS[words[1]]


def _element(words: list[str], where: object) -> Element:
    if len(words) != 3 or not words[2].isdecimal():
        raise parse_error("PLY element has no valid count", where, " ".join(words), "element NAME COUNT")
    return Element(words[1], int(words[2]))


def _property(words: list[str], where: object) -> Property:
    try:
        if words[1] == "list":
            return Property(words[4], TYPES[words[3]], TYPES[words[2]])
        return Property(words[2], TYPES[words[1]])
    except (IndexError, KeyError):
        raise parse_error("unknown PLY property", where, " ".join(words)) from None
