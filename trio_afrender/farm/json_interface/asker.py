"""Who sends a request."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from trio_afrender.farm.json_interface.request_body import text_at
from trio_afrender.farm.node_log import Actor

__all__ = ("Asker",)


@attrs.frozen(slots=True, kw_only=True)
class Asker:
    """The other end of a connection. Names are what a request claims; this is what was found."""

    address: str
    admin: bool = False
    """Whether it runs as the user of this farm, who may edit everything. Others need the token."""

    def act_as(self, request: Mapping[str, object]) -> Actor:
        """Who asks for a change, with the names that the request gives."""
        return Actor(
            user_name=text_at(request, "user_name"),
            host_name=text_at(request, "host_name"),
            address=self.address,
            admin=self.admin,
        )
