"""A chat template for models that have none: ChatML.

    <|im_start|>user
    Hi<|im_end|>
    <|im_start|>assistant
    Hello!<|im_end|>

The two names become special tokens, so that no text of a message can be one. The model gets an embedding for each
(`grown` in llm/hub/tuned.py).
"""

from __future__ import annotations

from llm.data.errors import DataError
from llm.inference.chat_prompt import has_chat_template
from llm.runs.options import Options
from llm.runs.run import Run
from llm.training.task import kept_tokenizer
from tokenizer import BaseTokenizer
from tokenizer.formats.tokenizer_json import with_special_tokens

# The last one is what a model has to write to end its answer.
TOKENS = ("<|im_start|>", "<|im_end|>")

TEMPLATE = (
    "{% if tools %}{{ raise_exception('this chat template has no tools') }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] or [] %}{{ part['text'] }}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def with_chat_template(tokenizer: BaseTokenizer) -> BaseTokenizer:
    """The tokenizer itself if it has a chat template, or else one like it with ChatML.

    Tokens that it lacks come after all others. `<|im_end|>` ends a text from then on, in addition to what did before.
    """
    if has_chat_template(tokenizer):
        return tokenizer
    begin = "".join(tokenizer.id_to_token(i) or "" for i in tokenizer.template.begin_ids())  # such as <s> of Llama
    # All added tokens are in the new tokenizer. A list of them in the settings would lack the two.
    settings = {name: value for name, value in tokenizer.settings.items() if name != "added_tokens_decoder"}
    settings |= {"chat_template": f"{begin}{TEMPLATE}", "eos_token": TOKENS[-1]}
    return BaseTokenizer.of(with_special_tokens(tokenizer.record, TOKENS), settings)


def chat_tokenizer(options: Options, run: Run) -> BaseTokenizer:
    """The tokenizer of a run that is resumed, or of the model at --from, with a chat template."""
    tokenizer = kept_tokenizer(options, run)
    if tokenizer is None:
        raise DataError(f"--objective {options.training.objective} needs a model that it begins with; give --from PATH")
    return with_chat_template(tokenizer)
