"""The one error for input that the user can mend, and the two checks that raise most of it."""

from __future__ import annotations

import difflib
from numbers import Integral, Real


class InputError(ValueError):
    """A wrong value: the message names it, says what is allowed and what to do."""


def check_choice(name: str, value: object, allowed) -> None:
    """Raise InputError unless `value` is one of `allowed`."""
    allowed = list(allowed)
    if value in allowed:
        return
    close = difflib.get_close_matches(str(value), [str(a) for a in allowed], n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise InputError(f"{name}={value!r} is unknown; choose from {', '.join(map(str, allowed))}.{hint}")


def check_range(
    name: str,
    value: object,
    low: float,
    high: float = float("inf"),
    *,
    whole: bool = False,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Raise InputError unless `value` is a finite number in the interval (a whole one where `whole`)."""
    kinds = Integral if whole else Real
    ok = isinstance(value, kinds) and not isinstance(value, bool)
    ok = ok and (value > low if open_low else value >= low)  # NaN fails every comparison
    ok = ok and (value < high if open_high else value <= high) and value not in (float("inf"), float("-inf"))
    if ok:
        return
    kind = "a whole number" if whole else "a number"
    if high == float("inf"):
        interval = f"{'greater than' if open_low else 'of at least'} {low:g}"
    else:
        interval = f"in {'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
    raise InputError(f"{name}={value!r} is not allowed; give {kind} {interval}.")


def check_file(path: object, content: object, form: str, version: int, *, anew: str) -> None:
    """Raise InputError unless `content`, read from `path`, is of this form ("layermatch_lite run") and version.

    anew: what to do for a new one.
    """
    if not isinstance(content, dict) or content.get("format") != form:
        package, kind = form.split()
        raise InputError(f"{path} is not a {kind} of {package}; give one that this package saved.")
    if content.get("version") != version:
        raise InputError(
            f"{path} has format version {content.get('version')!r}, this package reads {version}; use the package version that "
            f"wrote it, or {anew} anew."
        )
