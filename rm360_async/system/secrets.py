"""Tokens and passwords in text, masked: the one list of what a secret looks like."""

from __future__ import annotations

import re

MASK = "***"
_VALUE = r"""(?:\\+"(?:[^"\\]|\\+[^"\\])*\\+"|"[^"]*(?:"|$)|'[^']*(?:'|$)|[^\s,;&"'}]+)"""
_NAME = (
    r"[\w-]{0,40}(?:token|secret|passw(?:or)?d|pass|authorization|credentials?"
    r"|(?:api|access|account|private|customer|encryption)[_-]?key)"
)
_SECRETS = [
    re.compile(r"(?i)(bearer\s+)[^\s\"',;]+"),
    re.compile(rf"(?i)({_NAME}\s*=\s*)(?:bearer\s+)?{_VALUE}"),
    re.compile(rf"""(?i)({_NAME}\\*["']\s*:\s*){_VALUE}"""),
    re.compile(r"(?i)((?:passw(?:or)?d|secret|authorization)\s*:\s+)(?!\*\*\*)(?:basic\s+|bearer\s+)?\S+"),
    re.compile(r"(?i)(--[\w-]{0,40}(?:token|secret|pass|password|api-key)\s+)(?!-)\S+"),
    re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)"),  # the password in an address
    re.compile(r"()\bya29\.[\w.-]+"),  # Google's access tokens, refresh tokens and client secrets
    re.compile(r"()\b1//[\w-]{20,}"),
    re.compile(r"()\bGOCSPX-[\w-]+"),
]
_HINT = re.compile(r"(?i)token|secret|pass|key|authorization|credential|bearer|ya29|1//|gocspx|://")
"""What every text with a secret contains: other text is passed on quickly."""


def masked(text: str) -> str:
    """Return the text with whatever looks like a token or a password replaced by `***`."""
    if not _HINT.search(text):
        return text
    for pattern in _SECRETS:
        text = pattern.sub(rf"\g<1>{MASK}", text)
    return text
