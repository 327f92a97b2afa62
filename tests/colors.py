"""The judge of colours: contrast, and how different two colours are to people who see all, some or no hues.

Contrast is that of WCAG 2.2 (relative luminance of sRGB).  Sight without green or red cones is simulated by the matrices
for the severity 1 of Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision
deficiency" (IEEE TVCG 15, 2009, table 1), on linear RGB.  Differences are CIEDE2000 (Sharma, Wu and Dalal, Color Research
and Application 30, 2005), in CIELAB under D65; a difference of about 2 is just noticed.
"""

from math import atan2, cos, degrees, exp, hypot, radians, sin, sqrt

LUMINANCE = (0.2126, 0.7152, 0.0722)
SIGHTS = {
    "normal": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "grey print": (LUMINANCE, LUMINANCE, LUMINANCE),
}
XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
WHITE = (0.95047, 1.0, 1.08883)


def linear(color):
    """Red, green and blue from 0 to 1, as amounts of light."""
    parts = (int(color[i : i + 2], 16) / 255.0 for i in (1, 3, 5))
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]


def times(matrix, vector):
    return [sum(m * x for m, x in zip(row, vector, strict=True)) for row in matrix]


def contrast(one, other):
    """From 1, for the same colour, to 21, for black on white."""
    [low], [high] = sorted(times([LUMINANCE], linear(color)) for color in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(color, sight="normal"):
    """L*, a*, b* of what is seen."""
    seen = [min(1.0, max(0.0, c)) for c in times(SIGHTS[sight], linear(color))]
    x, y, z = (
        t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116
        for t in (part / white for part, white in zip(times(XYZ, seen), WHITE, strict=True))
    )
    return 116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)


def difference(one, other, sight="normal"):
    """CIEDE2000 between two colours."""
    return ciede2000(lab(one, sight), lab(other, sight))


def ciede2000(one, other):
    """The formula of Sharma, Wu and Dalal, equations 2 to 22."""
    (L1, a1, b1), (L2, a2, b2) = one, other
    C = (hypot(a1, b1) + hypot(a2, b2)) / 2.0
    G = 0.5 * (1.0 - sqrt(C**7 / (C**7 + 25.0**7)))
    a1, a2 = (1.0 + G) * a1, (1.0 + G) * a2
    C1, C2 = hypot(a1, b1), hypot(a2, b2)
    h1, h2 = (degrees(atan2(b, a)) % 360.0 if a or b else 0.0 for a, b in ((a1, b1), (a2, b2)))
    turn = (h2 - h1 + 180.0) % 360.0 - 180.0 if C1 * C2 else 0.0
    dL, dC, dH = L2 - L1, C2 - C1, 2.0 * sqrt(C1 * C2) * sin(radians(turn / 2.0))
    L, C = (L1 + L2) / 2.0, (C1 + C2) / 2.0
    h = (h1 + h2) / (1.0 if not C1 * C2 else 2.0)
    if C1 * C2 and abs(h1 - h2) > 180.0:
        h += 180.0 if h1 + h2 < 360.0 else -180.0
    waves = ((-0.17, 1, -30.0), (0.24, 2, 0.0), (0.32, 3, 6.0), (-0.20, 4, -63.0))
    T = 1.0 + sum(size * cos(radians(n * h + shift)) for size, n, shift in waves)
    SL = 1.0 + 0.015 * (L - 50.0) ** 2 / sqrt(20.0 + (L - 50.0) ** 2)
    SC, SH = 1.0 + 0.045 * C, 1.0 + 0.015 * C * T
    rotation = sin(radians(60.0 * exp(-(((h - 275.0) / 25.0) ** 2))))
    RT = -2.0 * sqrt(C**7 / (C**7 + 25.0**7)) * rotation
    return sqrt((dL / SL) ** 2 + (dC / SC) ** 2 + (dH / SH) ** 2 + RT * (dC / SC) * (dH / SH))
