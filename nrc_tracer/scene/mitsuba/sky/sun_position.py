"""The direction to the sun at a place and time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

EARTH_RADIUS, ASTRONOMICAL_UNIT = 6371.01, 149597890.0
"""Radius of the earth and its mean distance from the sun [km]."""


@dataclass(frozen=True)
class Moment:
    """A place and time. The defaults are those of Mitsuba: Tokyo on a summer afternoon.

    Attributes:
        latitude: Latitude [degrees], positive north of the equator.
        longitude: Longitude [degrees], positive east of Greenwich.
        timezone: Offset of local time from universal time [hours].
        year: Year of the Gregorian calendar.
        month: Month, 1 to 12.
        day: Day of the month, 1 to 31.
        hour: Hour of local time.
        minute: Minute.
        second: Second.
    """

    latitude: float = 35.6894
    longitude: float = 139.6917
    timezone: float = 9.0
    year: int = 2010
    month: int = 7
    day: int = 10
    hour: float = 15.0
    minute: float = 0.0
    second: float = 0.0


def sun_direction(moment: Moment) -> np.ndarray:
    """Return the unit vector to the sun: x to the south, y to the west, z up (left-handed, as Mitsuba's sky is).

    Source: M. Blanco-Muriel et al., *Computing the Solar Vector*, Solar Energy 70 (2001); accurate to half a minute of arc until
    2015.
    """
    hours = moment.hour - moment.timezone + (moment.minute + moment.second / 60.0) / 60.0
    days = _julian_day(moment.year, moment.month, moment.day) - 0.5 + hours / 24.0 - 2451545.0
    # Compute the ecliptic coordinates of the sun
    node = 2.1429 - 0.0010394594 * days
    anomaly = 6.2400600 + 0.0172019699 * days
    longitude = 4.8950630 + 0.017202791698 * days + 0.03341607 * math.sin(anomaly)
    longitude += 0.00034894 * math.sin(2.0 * anomaly) - 0.0001134 - 0.0000203 * math.sin(node)
    obliquity = 0.4090928 - 6.2140e-9 * days + 0.0000396 * math.cos(node)
    # Convert to celestial coordinates
    ascension = math.atan2(math.cos(obliquity) * math.sin(longitude), math.cos(longitude))
    declination = math.asin(math.sin(obliquity) * math.sin(longitude))
    # Convert to horizontal coordinates of the place
    sidereal = 6.6974243242 + 0.0657098283 * days + hours
    angle = math.radians(15.0 * sidereal + moment.longitude) - ascension
    latitude = math.radians(moment.latitude)
    height = math.cos(latitude) * math.cos(angle) * math.cos(declination) + math.sin(declination) * math.sin(latitude)
    zenith = math.acos(min(max(height, -1.0), 1.0))
    zenith += EARTH_RADIUS / ASTRONOMICAL_UNIT * math.sin(zenith)  # parallax
    east, north = -math.sin(angle), math.tan(declination) * math.cos(latitude) - math.sin(latitude) * math.cos(angle)
    azimuth = math.atan2(east, north) - math.pi
    return np.array(
        (math.sin(zenith) * math.cos(azimuth), math.sin(zenith) * math.sin(azimuth), math.cos(zenith)), np.float64
    )


def _julian_day(year: int, month: int, day: int) -> int:
    """Return the Julian day number at noon (H. F. Fliegel and T. C. van Flandern, CACM 11, 1968)."""
    early = -1 if month <= 2 else 0
    days = 1461 * (year + 4800 + early) // 4 + 367 * (month - 2 - 12 * early) // 12
    return days - 3 * ((year + 4900 + early) // 100) // 4 + day - 32075
