"""Shows Sphinx roles of docstrings (``:func:`~a.b``` and its kind) as code in the pages."""

import re

import griffe

_ROLE = re.compile(r":(?:mod|class|func|meth|data|attr|exc):`(~?)([\w.]+)`")


class SphinxRoles(griffe.Extension):
    """Replaces each role by the name that it shows."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Called by griffe for every object that it has read."""
        if obj.docstring:
            obj.docstring.value = _ROLE.sub(_as_code, obj.docstring.value)


def _as_code(role: re.Match[str]) -> str:
    short, name = role.groups()
    return f"`{name.rpartition('.')[2] if short else name}`"
