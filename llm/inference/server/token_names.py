"""How tokens are named in an answer."""

from __future__ import annotations

from tokenizer import BaseTokenizer


class TokenNames:
    """The bytes of each token, and a text for it. Tokens are the inside of a text: SentencePiece keeps their space."""

    def __init__(self, tokenizer: BaseTokenizer):
        self.tokenizer = tokenizer

    def bytes_of(self, id: int) -> bytes:
        """Nothing for an id without a token: a model may have more of them than its tokenizer."""
        if not 0 <= id < self.tokenizer.vocab_size or self.tokenizer.tokens[id] is None:
            return b""
        return self.tokenizer.decode_bytes([id], mid_text=True)

    def text_of(self, id: int) -> str:
        """The text of a token; "bytes:\\xf0\\x9f", as OpenAI has it, if its bytes are a part of a character."""
        data = self.bytes_of(id)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
