"""What descriptors are called in figures and tables."""

from __future__ import annotations

CURVE_NAMES = {
    "s2": "two-point correlation",
    "lineal_path": "lineal path",
    "chord_length": "chord length",
    "p3h": "triangles, horizontal",
    "p3v": "triangles, vertical",
    "p4": "squares",
    "p6": "hexagons",
    "c2": "two-point cluster function",
}
SECTION_NAMES = {
    "s3": "three-point corr., sections",
    "variation": "variation, sections",
    "bit_quads": "straights, corners, sections",
    "interface_orientation": "interface normals, sections",
    "gram": "Gram matrices, sections",
}
