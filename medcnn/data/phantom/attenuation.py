"""How much tissues attenuate X-rays of some energies.

Mass attenuation coefficients in cm²/g are those of NIST (Hubbell and Seltzer, NISTIR 5632, tables 3
and 4, tissues of ICRU report 44); times density they are linear attenuation in 1/cm.
"""

from typing import NamedTuple


class Tissues(NamedTuple):
    """Linear attenuation of tissues, 1/cm."""

    soft: float
    lung: float  # inflated
    fluid: float  # as water
    cortical: float

    @property
    def bone(self) -> float:
        """Half cortical bone, half marrow."""
        return (self.cortical + self.soft) / 2

    def mixed(self, share: float) -> float:
        """Return the attenuation of soft tissue of whose volume a share is cortical bone."""
        return (1 - share) * self.soft + share * self.cortical


TISSUES = {  # by photon energy in keV
    40: Tissues(0.2688 * 1.06, 0.2699 * 0.26, 0.2683 * 1.00, 0.6655 * 1.92),
    60: Tissues(0.2048 * 1.06, 0.2053 * 0.26, 0.2059 * 1.00, 0.3148 * 1.92),
    100: Tissues(0.1693 * 1.06, 0.1695 * 0.26, 0.1707 * 1.00, 0.1855 * 1.92),
}
LEAD = 5.021 * 11.35  # at 60 keV
