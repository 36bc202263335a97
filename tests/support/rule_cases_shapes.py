"""Cases of the CRD's rules on dimensions, inputs and images: ranges, sizes, names."""

from __future__ import annotations

from spec_fields import (
    Case,
    dimension,
    images,
    inputs,
    points,
)

VALUES_AT_OPT = "an input has more than 1073741824 values with its dimensions at opt"
DIMENSIONS: list[Case] = [
    (dimension(opt=256), dimension(opt=300), "min <= opt <= max must hold"),
    (dimension(min=128), dimension(min=129), "min <= opt <= max must hold"),
    (
        dimension(multipleOf=32),
        dimension(multipleOf=48),
        "min, opt and max must be multiples of multipleOf",
    ),
]
TRANSFORMS: list[Case] = [
    (images(mean=[0, 0, 0]), images(mean=[0]), "mean must be empty or have three values"),
    (images(std=[1, 1, 1]), images(std=[1, 1]), "std must be empty or have three values"),
    (
        images(mean=[0.5], std=[0.5], color="Gray"),
        images(mean=[0.5] * 3, color="Gray"),
        "mean must be empty or have three values, one per channel; with color Gray one",
    ),
    (
        images(std=[1, 1, 1], color="BGR"),
        images(std=[1, 1, 1], color="Gray"),
        "std must be empty or have three values, one per channel; with color Gray one",
    ),
    (
        images(resize=[64, 96], crop=[64, 96]),
        images(resize=[64, 96], crop=[64, 97]),
        "crop must not be larger than resize",
    ),
    *(
        (
            images(**{field: [4096, 8192]}),
            images(**{field: [4097, 8192]}),
            f"{field} must have at most 33554432 pixels",
        )
        for field in ("resize", "crop")
    ),
    (images(), images(resize=[65536, 65536]), "resize must have at most 33554432 pixels"),
]
SIZES: list[Case] = [
    (inputs([2**30]), inputs([2**30 + 1]), VALUES_AT_OPT),
    (inputs([2**15, 2**15]), inputs([2**15, 2**15 + 1]), VALUES_AT_OPT),
    (inputs([*[1] * 7, 2**30]), inputs([2**31 - 1] * 8), VALUES_AT_OPT),
    (
        dimension(opt=256) | inputs(["height", "height", 2**14]),
        dimension(opt=256) | inputs(["height", "height", 2**14 + 1]),
        VALUES_AT_OPT,
    ),
    (
        inputs([1], [2**30]),
        inputs([1], [2**30, 2]),
        VALUES_AT_OPT,
    ),
    (
        dimension()
        | inputs(["height", 2**22])
        | {"benchmark": {"points": points({"height": 256})}},
        dimension()
        | inputs(["height", 2**22 + 1])
        | {"benchmark": {"points": points({}, {"height": 256})}},
        "an input has more than 1073741824 values at a benchmark point",
    ),
]
NAMES: list[Case] = [
    (
        {"inputs": [{"name": "x", "shape": ["batch", 3, 64, 64]}]},
        {"inputs": [{"name": "x", "shape": ["n", 3, 64, 64]}]},
        "every name in an input's shape must be declared under dimensions",
    ),
    (
        {"derivedDimensions": {"total": {"sumOf": ["batch", "height"], "plus": 1}}},
        {"derivedDimensions": {"total": {"sumOf": ["batch", "past"]}}},
        "every name in sumOf must be declared under dimensions",
    ),
    (
        {"derivedDimensions": {"total": {"sumOf": ["batch"]}}},
        {"derivedDimensions": {"batch": {"sumOf": ["height"]}}},
        "a name is declared under dimensions or under derivedDimensions, not under both",
    ),
    (
        {"derivedDimensions": {"total": {"sumOf": ["batch"]}}},
        {"derivedDimensions": {"total": {"sumOf": ["batch"], "plus": 65536}}},
        "a derived dimension must be at most 65536 with its terms at max",
    ),
    (
        {
            "derivedDimensions": {"total": {"sumOf": ["batch"], "plus": 1}},
            "inputs": [{"name": "x", "shape": ["batch", "total", 64]}],
        },
        {
            "derivedDimensions": {"total": {"sumOf": ["batch"], "plus": 1023}},
            "inputs": [{"name": "x", "shape": ["batch", "total", 2**20, 2**4]}],
        },
        VALUES_AT_OPT,
    ),
]
