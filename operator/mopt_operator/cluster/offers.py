"""The API calls on OptimizationProfiles, and on what they speak of: nodes and namespaces.

They need a ClusterRole of their own, whichever namespaces are watched:

    mopt.dev  optimizationprofiles         get list watch create patch delete
    mopt.dev  optimizationprofiles/status  patch
    ""        nodes                        list
    ""        namespaces                   get

Without the last two a profile's status counts no nodes, and one with a namespaceSelector is for no
namespace.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from urllib.parse import quote

from mopt_api.base import API_VERSION, GROUP, VERSION
from mopt_api.profiles import PROFILE_KIND, PROFILE_PLURAL
from mopt_operator.config.offers import LABEL_OPERATOR, Offer
from mopt_operator.errors import NotFound, OperatorError, Refused
from mopt_operator.objects import LABEL_MANAGED_BY, MANAGED_BY, Json, Raw

from .pages import Pages
from .requests import APPLY_PATCH, MERGE_PATCH, METADATA, Requests

logger = logging.getLogger(__name__)

PROFILES_PATH = f"/apis/{GROUP}/{VERSION}/{PROFILE_PLURAL}"
FIELD_MANAGER = "mopt-operator"
# A namespace's labels are asked for again after so long.
LABELS_SECONDS = 60.0


class OfferCalls:
    """The calls; the labels of namespaces are remembered for a while."""

    def __init__(
        self, request: Requests, pages: Pages, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._request = request
        self._pages = pages
        self._clock = clock
        self._labels: dict[str, tuple[float, Mapping[str, str] | None]] = {}

    async def check_access(self) -> None:
        """Try what the watch needs.

        Raises:
            NotFound: The CRD is not installed.
            Refused: A permission is missing.
        """
        await self._request("GET", PROFILES_PATH, limit="1")

    async def apply(self, name: str, spec: Json, owner: str) -> Raw:
        """Make a profile say this, whatever it said before; return it.

        Args:
            owner: Value of the label by which this operator knows its own.

        Raises:
            Refused: It breaks a rule of the CRD.
        """
        labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_OPERATOR: owner}
        body = {
            "apiVersion": API_VERSION,
            "kind": PROFILE_KIND,
            "metadata": {"name": name, "labels": labels},
            "spec": spec,
        }
        return await self._request(
            "PATCH",
            f"{PROFILES_PATH}/{quote(name)}",
            body=body,
            content_type=APPLY_PATCH,
            fieldManager=FIELD_MANAGER,
            force="true",
        )

    async def delete(self, offer: Offer) -> None:
        """Delete a profile, not another one of its name.

        Raises:
            NotFound: It is gone.
            Conflict: Another one has its name.
        """
        options = {"preconditions": {"uid": offer.uid}}
        await self._request("DELETE", f"{PROFILES_PATH}/{quote(offer.name)}", body=options)

    async def write_status(self, offer: Offer, status: Json) -> Raw:
        """Replace a profile's status and return the profile.

        Raises:
            NotFound: It is gone.
            Conflict: It has changed since it was observed.
        """
        metadata = {"uid": offer.uid, "resourceVersion": offer.version}
        # A merge would leave what is no longer said.
        gone = dict.fromkeys(offer.status.keys() - status.keys())
        return await self._request(
            "PATCH",
            f"{PROFILES_PATH}/{quote(offer.name)}/status",
            body={"metadata": metadata, "status": gone | status},
            content_type=MERGE_PATCH,
        )

    async def nodes(self) -> AsyncIterator[Raw]:
        """Yield the cluster's nodes, page by page.

        Raises:
            Refused: They may not be listed.
        """
        async for page in self._pages("/api/v1/nodes", {}):
            for raw in page["items"] or ():
                yield raw

    async def namespace_labels(self, namespace: str) -> Mapping[str, str] | None:
        """Return a namespace's labels, as they were a minute ago at most; None where they cannot
        be read."""
        before = self._labels.get(namespace)
        if before is not None and self._clock() - before[0] < LABELS_SECONDS:
            return before[1]
        path = f"/api/v1/namespaces/{quote(namespace)}"
        labels: Mapping[str, str] | None
        try:
            metadata = (await self._request("GET", path, accept=METADATA))["metadata"]
            labels = dict(metadata.get("labels") or {})
        except (NotFound, Refused) as error:
            logger.warning("Cannot read the labels of namespace %s: %s", namespace, error)
            labels = None
        except OperatorError:
            if before is None:
                raise
            labels = before[1]  # Better those of a while ago than none.
        self._labels[namespace] = (self._clock(), labels)
        return labels
