"""From high dynamic range (HLG, PQ) and wide gamut (BT.2020) to the standard of all displays: BT.709, 8 bits.

The light of a reference display is computed (BT.2100), highlights above its white are compressed (BT.2390-11,
section 5.4.1), the primaries are converted, and the image is encoded for a standard display (BT.1886).
"""

from __future__ import annotations

import functools

import numpy as np

# Shape suffixes: H rows, W columns, 3 colours. Light is in cd/m².

PQ, HLG = 16, 18
"""AVColorTransferCharacteristic of SMPTE ST 2084 and ARIB STD-B67."""
BT2020 = 9
"""AVColorPrimaries."""

PEAK = 1000.0
"""Peak luminance of HLG's reference display, and of most PQ material."""
WHITE = 100.0
"""Peak luminance of a standard reference display (BT.2035)."""

_LEVELS = 1 << 16
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
_HLG_A, _HLG_B, _HLG_C = 0.17883277, 0.28466892, 0.55991073
_HLG_GAMMA = 1.2
_DISPLAY_GAMMA = 2.4

_LUMINANCE_3 = np.array([0.2627, 0.6780, 0.0593], np.float32)
_TO_BT709_33 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
"""Linear light, BT.2020 to BT.709 primaries (BT.2087)."""


def name_of(transfer: int, primaries: int) -> str | None:
    """The kind of image that has to be converted; None for a standard one."""
    if transfer in (PQ, HLG):
        return "PQ" if transfer == PQ else "HLG"
    return "BT.2020" if primaries == BT2020 else None


def to_sdr(coded_HW3: np.ndarray, kind: str) -> np.ndarray:
    """An image for standard displays, uint8 [H, W, 3].

    Args:
      coded_HW3: uint16 R'G'B' of BT.2020 primaries, full range.
      kind: a value of `name_of`.
    """
    light_HW3 = _light_of(kind)[coded_HW3]
    if kind == "HLG":
        scene_HW = light_HW3 @ _LUMINANCE_3
        light_HW3 *= (PEAK * np.maximum(scene_HW, 1e-6) ** (_HLG_GAMMA - 1))[..., None]
    if kind != "BT.2020":
        brightest_HW = light_HW3.max(-1)
        light_HW3 *= np.interp(brightest_HW, *_gains())[..., None].astype(np.float32) / WHITE
    light_HW3 = light_HW3 @ _TO_BT709_33.T
    coded = np.clip(light_HW3, 0, 1) ** np.float32(1 / _DISPLAY_GAMMA)
    return np.asarray(np.rint(255 * coded), np.uint8)


def pq_of(light: np.ndarray) -> np.ndarray:
    """The PQ code (0 to 1) of light."""
    y = (np.maximum(light, 0) / 10_000) ** _M1
    return np.asarray(((_C1 + _C2 * y) / (1 + _C3 * y)) ** _M2)


def light_of_pq(code: np.ndarray) -> np.ndarray:
    """The inverse of `pq_of`."""
    y = np.maximum(code, 0) ** (1 / _M2)
    return np.asarray(10_000 * (np.maximum(y - _C1, 0) / (_C2 - _C3 * y)) ** (1 / _M1))


@functools.cache
def _light_of(kind: str) -> np.ndarray:
    """The light of each code value: light for PQ, scene light from 0 to 1 for HLG, light from 0 to 1 for
    BT.2020.
    """
    code = np.linspace(0, 1, _LEVELS)
    if kind == "PQ":
        return light_of_pq(code).astype(np.float32)
    if kind == "HLG":
        high = (np.exp((code - _HLG_C) / _HLG_A) + _HLG_B) / 12
        return np.where(code <= 0.5, code**2 / 3, high).astype(np.float32)
    return (code**_DISPLAY_GAMMA).astype(np.float32)


@functools.cache
def _gains() -> tuple[np.ndarray, np.ndarray]:
    """Gains of the light that limit it to white."""
    light = np.concatenate([[0.0], np.geomspace(0.01, 10_000, 4096)])
    source = float(pq_of(np.array(PEAK)))
    most = float(pq_of(np.array(WHITE))) / source
    knee = 1.5 * most - 0.5
    code = np.minimum(pq_of(light) / source, 1)
    t = (np.maximum(code, knee) - knee) / (1 - knee)
    rolled = (
        (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    )
    mapped = light_of_pq(np.where(code < knee, code, rolled) * source)
    return light, np.divide(mapped, light, out=np.ones_like(light), where=light > 0)
