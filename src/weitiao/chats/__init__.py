"""Models that answer, over the network or on this machine: what was said is kept, what may be spent has a limit."""

from __future__ import annotations

from weitiao.chats.base import Answer, Asked, Chat, LocalChat, Remembering
from weitiao.chats.endpoint import Endpoint

__all__ = ["Answer", "Asked", "Chat", "Endpoint", "LocalChat", "Remembering"]
