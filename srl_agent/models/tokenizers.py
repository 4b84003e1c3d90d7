"""What a tokenizer must be able to do, tried when a model is loaded."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from srl_envs.errors import DataError
from srl_envs.response import CLOSE, OPEN

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_logger = logging.getLogger(__name__)

_PROBE = "Let x = 482 + 17 * 3 - 5.\nThen (a) is 528, since 51 + 482 is 533:\nThe answer is 528."
"""What any step of a solution may hold: words, signs, blanks and new lines."""


def check_tokenizer(tokenizer: Any, name: str) -> None:
    """Refuse a tokenizer that can write no prompt, or that loses text.

    Raises:
        DataError: See above.
    """
    if not tokenizer.chat_template:
        raise DataError(
            f"The tokenizer of {name!r} has no chat template, so that no chat prompt can be"
            " written. Use an instruction-tuned model, or put a chat_template.jinja into the"
            " model's folder."
        )
    check_round_trip(tokenizer, name)


def check_round_trip(tokenizer: Any, name: str) -> None:
    """Refuse a tokenizer that loses text: encoded and decoded, a text must be the same.

    This happens where transformers takes the folder's tokenizer for one of another kind.
    Text that the vocabulary has no token for is a warning, since a small model may be
    meant for few.

    Raises:
        DataError: Text is lost.
    """
    unknown = tokenizer.unk_token_id

    def ids_of(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    absent = [] if unknown is None else [c for c in sorted(set(_PROBE)) if unknown in ids_of(c)]
    text = "".join(character for character in _PROBE if character not in absent)
    ids = ids_of(text)
    read = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    if read.strip() != text.strip() and unknown not in ids:
        raise DataError(
            f"The tokenizer of {name!r} ({type(tokenizer).__name__}) loses text: {text[:40]!r}"
            f" becomes {read[:40]!r}. transformers chose this class by model_type in config.json"
            " and tokenizer_class in tokenizer_config.json: put the model's own tokenizer into the"
            " folder, or name the class that fits its tokenizer.json."
        )
    if absent:
        _logger.warning(
            f"the tokenizer of {name} has no token for {''.join(absent)!r}: where a prompt or an"
            f" answer has them, the model reads {tokenizer.unk_token}"
        )


def check_vocabulary(model: Any, tokenizer: Any, name: str) -> None:
    """Refuse a tokenizer that writes tokens which the model has no embedding for.

    Special tokens that no prompt holds may be unknown: Gemma 3's, that stands for an
    image, is so in the text model.
    """
    size = model.get_input_embeddings().weight.shape[0]
    added = tokenizer.added_tokens_decoder
    written = str(tokenizer.chat_template) + OPEN + CLOSE
    for token, index in tokenizer.get_vocab().items():
        if index >= size and (index not in added or not added[index].special or token in written):
            raise DataError(
                f"The tokenizer of {name!r} has the token {token!r} ({index}), but the model has"
                f" embeddings for {size} tokens only: call model.resize_token_embeddings and save"
                " it, or use the model's own tokenizer."
            )


def set_end_and_padding(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str
) -> None:
    """Give the tokenizer an end and a padding token that the model has, and both configurations.

    Those of a composite model (text and images) are its text model's.
    """
    settings, config = model.generation_config, model.config.get_text_config()
    size = model.get_input_embeddings().weight.shape[0]

    def known(token: Any) -> bool:
        return isinstance(token, int) and 0 <= token < size

    ends = getattr(settings, "eos_token_id", None)
    ends = [tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])]
    end = next((token for token in ends if known(token)), None)
    if end is None:
        raise DataError(
            f"The tokenizer of {name!r} has no end-of-sequence token that the model knows: set"
            " eos_token in its tokenizer_config.json."
        )
    if tokenizer.eos_token_id != end:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    if not tokenizer.pad_token or not known(tokenizer.pad_token_id):
        tokenizer.pad_token = tokenizer.eos_token
    for place in (config, settings):
        if place is not None and not known(getattr(place, "pad_token_id", None)):
            place.pad_token_id = tokenizer.pad_token_id
