"""The certificate of the HTTP port, which is read again when it is renewed."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from mopt_operator.config.settings import HealthTls
from mopt_operator.errors import OperatorError

# Renewed weeks before it ends, and mounted within a minute or two.
RENEW_SECONDS = 60.0
CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"

logger = logging.getLogger(__name__)


class Certificates:
    """The files of a Secret of type kubernetes.io/tls.

    Attributes:
        context: What connections are made with.

    Raises:
        OperatorError: They cannot be used.
    """

    def __init__(self, tls: HealthTls) -> None:
        self._folder = Path(tls.folder)
        self._clients = tls.client_certificates
        try:
            self.context = self._read()
            self._version = self._seen()
        except OSError as error:  # ssl.SSLError is one, too.
            raise OperatorError(
                f"healthTls: cannot use {CERTIFICATE}, {KEY}"
                f"{f' and {AUTHORITY}' if self._clients else ''} in {self._folder}: {error}"
            ) from error

    def renew(self) -> None:
        """Use the present files for new connections, where they differ from those in use.

        A former authority of clients is trusted until the process ends.
        """
        try:
            seen = self._seen()
            if seen == self._version:
                return
            # By itself at first: a pair that does not match leaves a context without a key.
            self._read()
            self._load(self.context)
            self._version = seen
        except OSError as error:
            logger.warning("Cannot renew the certificate in %s: %s", self._folder, error)
        else:
            logger.info("Renewed the certificate in %s", self._folder)

    def _read(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        if self._clients:
            # Optional: the kubelet's probes have none.
            context.verify_mode = ssl.CERT_OPTIONAL
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self._folder / CERTIFICATE, self._folder / KEY)
        if self._clients:
            context.load_verify_locations(self._folder / AUTHORITY)

    def _seen(self) -> tuple[bytes, ...]:
        names = (CERTIFICATE, KEY, AUTHORITY) if self._clients else (CERTIFICATE, KEY)
        return tuple((self._folder / name).read_bytes() for name in names)
