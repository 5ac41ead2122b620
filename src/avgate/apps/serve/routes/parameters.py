"""What may stand after the ? of an address: the same rule for every route."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from avgate.apps.serve.routes.served import refuse_unknown
from avgate.apps.serve.routes.shapes import Refused


def only_known(request: Request) -> None:
    """Refused where a request gives a parameter that its route doesn't have, such as `nme` for `name`."""
    route = request.scope["route"]
    if not route.include_in_schema:  # the page has parameters of its own, such as ?lang=
        return
    known = _names(route.dependant)
    for name in request.query_params:
        if known:
            refuse_unknown("parameter", name, known, name[:80])
        else:
            raise Refused(422, "this takes no parameters", "leave out what comes after the ?", name[:80])


def _names(dependant: Any) -> list[str]:
    """The parameters of a route and of all that it depends on."""
    own = [parameter.alias for parameter in dependant.query_params]
    return own + [name for other in dependant.dependencies for name in _names(other)]
