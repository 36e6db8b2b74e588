"""Google's credentials, from a file or from the environment; nothing of them is ever shown."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from typing import Any, Final

from maniple.errors import QueueError
from maniple.persist import persist
from maniple.queues.pubsub_place import Place

OPENING_SECONDS: Final = 5.0
SCOPE: Final = "https://www.googleapis.com/auth/pubsub"


def secure(place: Place) -> Any:
    """Make TLS and credentials for a channel.

    Raises:
        QueueError: there are none, or none that can be used.
        StorageError: nobody gives out tokens.
    """
    import google.auth
    import google.auth.transport.requests
    import grpc
    from google.auth import exceptions
    from google.auth.transport.grpc import AuthMetadataPlugin

    untyped: Any = google.auth
    source = f"the file {place.credentials}" if place.credentials else "the environment"
    try:
        ca = None
        if place.ca is not None:
            with open(place.ca, "rb") as file:
                ca = file.read()
    except OSError as error:
        raise QueueError(f"cannot read ca={place.ca}: {error.strerror}") from None
    hint = "set GOOGLE_APPLICATION_CREDENTIALS to a file, or name it: ?credentials=FILE"
    try:
        with warnings.catch_warnings():
            # what it warns of is a file from strangers; this one the user has named
            warnings.simplefilter("ignore")
            if place.credentials:
                open(place.credentials, "rb").close()
                found, _ = untyped.load_credentials_from_file(place.credentials, [SCOPE])
            else:
                found, _ = untyped.default([SCOPE])
        if hasattr(found, "with_always_use_jwt_access"):
            found = found.with_always_use_jwt_access(True)
        ask = google.auth.transport.requests.Request()
        if not found.valid:
            _refresh(found, ask, place)
    except OSError as error:
        raise QueueError(f"cannot read credentials={place.credentials}: {error.strerror}") from None
    except exceptions.RefreshError:
        raise QueueError(
            f"the credentials of {source} are not accepted (any more): {hint}"
        ) from None
    except (exceptions.GoogleAuthError, ValueError, KeyError, TypeError) as error:
        # its text may quote what it could not read
        if isinstance(error, exceptions.DefaultCredentialsError) and not place.credentials:
            named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
            if not named:
                raise QueueError(f"no credentials for {place.endpoint}: {hint}") from None
            source = f"the file {named} (GOOGLE_APPLICATION_CREDENTIALS)"
        raise QueueError(
            f"{source} holds no credentials that can be used: a service account's key or what"
            " `gcloud auth application-default login` writes is needed"
        ) from None
    make: Any = AuthMetadataPlugin
    plugin = make(found, ask)
    return grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(root_certificates=ca), grpc.metadata_call_credentials(plugin)
    )


def _refresh(found: Any, ask: Any, place: Place) -> None:
    """Get a first token now: later its failure would look like a lost connection."""
    from google.auth import exceptions

    def refresh() -> None:
        with suppress(NotImplementedError):
            found.before_request(ask, "POST", f"https://{place.endpoint}/", {})

    def nothing() -> None:
        """The next try connects."""

    persist(
        refresh,
        lost=(exceptions.TransportError,),
        again=nothing,
        seconds=min(OPENING_SECONDS, place.reconnect),
        what="the service that gives out tokens",
    )
