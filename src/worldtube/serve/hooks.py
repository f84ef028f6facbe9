"""Webhooks: events of ended videos, signed as the Standard Webhooks say, sent until they are taken or a day has passed.

Owns endpoints, signatures and where a webhook may go: to public addresses, through no redirect. The events
themselves are put into the queue by the transaction that ends a video.
"""

import base64
import hashlib
import hmac
import http.client
import ipaddress
import json
import logging
import secrets
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import and_, delete, insert, select, update

from worldtube.errors import RequestError
from worldtube.serve.jobs import Database, new_id, now
from worldtube.serve.jobs.tables import deliveries, endpoints

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]
TIMEOUT = 10.0
OLD_SECRET_SECONDS = 86400.0
MOST_ENDPOINTS = 50


def sign(secret: str, id: str, timestamp: int, body: str) -> str:
    """The signature of a delivery, without its version."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.new(key, f"{id}.{timestamp}.{body}".encode(), hashlib.sha256)
    return base64.b64encode(signed.digest()).decode()


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def check_url(url: str, *, private: bool) -> None:
    """Raises RequestError for an address that no webhook goes to. Names are resolved when it is sent."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise RequestError(f"url {url!r} is not accepted: {error}") from error
    if (
        not host
        or parts.username
        or parts.scheme not in (("http", "https") if private else ("https",))
    ):
        raise RequestError(f"url {url!r} is not accepted; https://host/path is")
    if not url.isascii() or any(c <= " " for c in url):
        raise RequestError("the url is not accepted; letters, digits and signs of ASCII are")
    try:
        allowed = private or _is_public(host)
    except ValueError:
        allowed = private or (
            host != "localhost" and not host.endswith((".localhost", ".local", ".internal"))
        )
    if not allowed:
        raise RequestError(f"url {url!r} is not accepted; a public address is")


def _is_public(address: str) -> bool:
    """Raises ValueError for what is no address."""
    ip = ipaddress.ip_address(address)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_global and not ip.is_multicast


def _connect(host: str, port: int, *, private: bool) -> socket.socket:
    """A connection to an address that was looked at itself, so that a name cannot change in between."""
    for *_, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if private or _is_public(str(place[0]).partition("%")[0]):
            return socket.create_connection((str(place[0]), port), timeout=TIMEOUT)
    raise OSError(f"{host} has no public address")


def post(url: str, body: str, headers: Mapping[str, str], *, private: bool) -> int:
    """Send; returns the status. Raises OSError, http.client.HTTPException."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    connection.sock = _connect(host, port, private=private)
    try:
        if secure:
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body.encode(), dict(headers))
        return connection.getresponse().status
    finally:
        connection.close()


class Hooks:
    def __init__(self, database: Database, *, private: bool = False):
        self.database, self.private = database, private

    def create(self, owner: str, name: str, url: str, event_types: tuple[str, ...]) -> Row:
        check_url(url, private=self.private)
        values = {
            "id": new_id("we"),
            "owner": owner,
            "name": name,
            "url": url,
            "event_types": list(event_types),
            "secret": new_secret(),
            "created_at": now(),
            "updated_at": now(),
        }
        with self.database.writing() as connection:
            mine = select(endpoints.c.id).where(endpoints.c.owner == owner)
            if len(connection.execute(mine).all()) >= MOST_ENDPOINTS:
                raise RequestError(f"a key may have {MOST_ENDPOINTS} webhook endpoints")
            query = insert(endpoints).values(values).returning(endpoints)
            return connection.execute(query).mappings().one()

    def get(self, owner: str, id: str) -> Row | None:
        with self.database.reading() as connection:
            query = select(endpoints).where(_mine(owner, id))
            return connection.execute(query).mappings().first()

    def all(self, owner: str, *, after: str | None = None) -> list[Row]:
        """Newest first; after: from below this id on, whether it is there still or not."""
        query = select(endpoints).where(endpoints.c.owner == owner)
        if after is not None:
            query = query.where(endpoints.c.id < after)
        with self.database.reading() as connection:
            return list(connection.execute(query.order_by(endpoints.c.id.desc())).mappings())

    def change(self, owner: str, id: str, changes: Mapping[str, Any]) -> Row | None:
        if "url" in changes:
            check_url(changes["url"], private=self.private)
        query = update(endpoints).where(_mine(owner, id))
        with self.database.writing() as connection:
            query = query.values(dict(changes) | {"updated_at": now()}).returning(endpoints)
            return connection.execute(query).mappings().first()

    def rotate(self, owner: str, id: str, *, keep_old: bool) -> Row | None:
        """A new secret; the old one signs too for a day where it is kept."""
        row = self.get(owner, id)
        if row is None:
            return None
        changes: dict[str, Any] = {"secret": new_secret(), "old_secret": None}
        if keep_old:
            changes |= {"old_secret": row["secret"], "old_secret_until": now() + OLD_SECRET_SECONDS}
        return self.change(owner, id, changes)

    def delete(self, owner: str, id: str) -> bool:
        with self.database.writing() as connection:
            gone = connection.execute(delete(endpoints).where(_mine(owner, id))).rowcount == 1
            if gone:
                connection.execute(delete(deliveries).where(deliveries.c.endpoint == id))
            return gone

    def test(self, owner: str, id: str, kind: str) -> int | None:
        """Send a sample at once; the endpoint's status. Raises OSError, http.client.HTTPException."""
        row = self.get(owner, id)
        if row is None:
            return None
        event = {"id": new_id("evt"), "object": "event", "created_at": int(time.time())}
        body = json.dumps(event | {"type": kind, "data": {"id": "video_test"}})
        return self._send(row, event["id"], body)

    def deliver(self, limit: int = 20) -> int:
        """Send what is due; returns how much was taken. What is not is tried later and later."""
        due = select(deliveries).where(deliveries.c.next_at <= now()).limit(limit)
        with self.database.reading() as connection:
            found = list(connection.execute(due.order_by(deliveries.c.next_at)).mappings())
        taken = 0
        for one in found:
            same = and_(deliveries.c.id == one["id"], deliveries.c.next_at == one["next_at"])
            pause = min(3600.0, 5.0 * 2 ** one["attempt"])
            with self.database.writing() as connection:
                # Whoever moves the time has the right to send.
                later = {"next_at": now() + pause + TIMEOUT, "attempt": one["attempt"] + 1}
                mine = connection.execute(update(deliveries).where(same).values(later)).rowcount
                query = select(endpoints).where(endpoints.c.id == one["endpoint"])
                endpoint = connection.execute(query).mappings().first()
            if not mine:
                continue
            sent = False
            try:
                sent = endpoint is None or self._send(endpoint, one["id"], one["body"]) // 100 == 2
            except (OSError, http.client.HTTPException) as error:
                logger.info("webhook %s: %s", one["id"], error)
            taken += sent
            with self.database.writing() as connection:
                gone = and_(deliveries.c.id == one["id"], deliveries.c.give_up_at < now())
                if sent:
                    gone = deliveries.c.id == one["id"]
                connection.execute(delete(deliveries).where(gone))
        return taken

    def _send(self, endpoint: Row, id: str, body: str) -> int:
        timestamp = int(time.time())
        valid = [endpoint["secret"]]
        if endpoint["old_secret"] and endpoint["old_secret_until"] > time.time():
            valid.append(endpoint["old_secret"])
        headers = {
            "content-type": "application/json",
            "user-agent": "worldtube-webhooks",
            "webhook-id": id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join("v1," + sign(s, id, timestamp, body) for s in valid),
        }
        return post(endpoint["url"], body, headers, private=self.private)


def _mine(owner: str, id: str) -> Any:
    return and_(endpoints.c.id == id, endpoints.c.owner == owner)
