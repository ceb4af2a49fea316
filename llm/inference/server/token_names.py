"""How tokens are named in an answer."""

from __future__ import annotations

from tokenizer import BaseTokenizer


class TokenNames:
    """The bytes of each token, and a text for it. Tokens are the inside of a text: SentencePiece keeps their space."""

    def __init__(self, tokenizer: BaseTokenizer):
        self.tokenizer = tokenizer
        self._known: dict[int, tuple[bytes, str]] = {}

    def bytes_of(self, id: int) -> bytes:
        """Nothing for an id without a token: a model may have more of them than its tokenizer."""
        return self._name(id)[0]

    def text_of(self, id: int) -> str:
        """The text of a token; "bytes:\\xf0\\x9f", as OpenAI has it, if its bytes are a part of a character."""
        return self._name(id)[1]

    def _name(self, id: int) -> tuple[bytes, str]:
        if id not in self._known:
            has_token = 0 <= id < self.tokenizer.vocab_size and self.tokenizer.tokens[id] is not None
            data = self.tokenizer.decode_bytes([id], mid_text=True) if has_token else b""
            self._known[id] = data, readable(data)
        return self._known[id]


def readable(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
