"""The `apprise` receiver: mail, chat, pagers, whatever https://github.com/caronc/apprise reaches.

In: messages. Out: notifications with the picture attached. Of why one failed, nothing is kept but an
HTTP status: what Apprise says has addresses, and with them secrets, in it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pipeline.alerts.message import Message
from pipeline.alerts.quiet import quietly
from pipeline.errors import ConfigError, DeliveryFailed


class AppriseReceiver:
    """Notifies one Apprise URL."""

    timeout = timedelta(seconds=60)

    def __init__(self, url: str) -> None:
        import apprise

        # In our thread: Apprise's own are not daemons, and one that hangs would keep the process alive.
        asset = apprise.AppriseAsset(async_mode=False, service_timeout=0)
        self._service = apprise.Apprise(asset=asset)
        with quietly():
            known = self._service.add(url)
        if not known:
            raise ConfigError("Apprise cannot read the URL", expected="a URL as in Apprise's documentation")

    def send(self, message: Message) -> None:
        """Notify; Apprise does not say why it failed, so every failure may work later."""
        import apprise

        with quietly() as heard:
            taken = self._service.notify(
                title=message.title,
                body="\n".join(message.text.splitlines()[2:]) or message.title,
                notify_type=_kind(apprise, message),
                body_format=apprise.NotifyFormat.TEXT,
                attach=_attachment(apprise, message),
            )
        if not taken:
            status = f" (HTTP {heard.status})" if heard.status else ""
            raise DeliveryFailed(f"the service did not take it{status}")


def _kind(apprise: Any, message: Message) -> Any:
    if message.event == "resolved":
        return apprise.NotifyType.SUCCESS
    grave = message.event == "firing" and message.severity in ("high", "critical")
    return apprise.NotifyType.FAILURE if grave else apprise.NotifyType.WARNING


def _attachment(apprise: Any, message: Message) -> Any:
    if message.picture is None:
        return None
    from apprise.attachment.memory import AttachMemory

    memory: Any = AttachMemory
    picture = memory(content=message.picture, name="anomaly.png", mimetype="image/png")
    attachment = apprise.AppriseAttachment()
    attachment.add(picture)
    return attachment
