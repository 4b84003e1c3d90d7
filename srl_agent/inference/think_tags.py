"""How families of models mark their thoughts."""

from __future__ import annotations

import re

from srl_envs.response import CLOSE, OPEN

_THINK_TAGS = (
    ("<|channel>thought\n", "<channel|>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("◁think▷", "◁/think▷"),
    ("Here are my reasoning steps:\n", "[BEGIN FINAL RESPONSE]"),
    (OPEN, CLOSE),
    ("<thought>", "</thought>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
)
"""Special spellings first: templates mention the common ones also to remove them."""

_TAG_IN_PROMPT = re.compile(r"</?([\w:]*(?:think|thought|reason)[\w:]*)>")
"""A tag at the end of a prompt, which counts before those that the template mentions."""

_CHANNELS = (
    "<|channel|>analysis",  # gpt-oss
    "<|begin|>assistant<|think|>",  # Solar Open
    "<|start|>assistant to=self",  # Muse
    "<|im_start|>assistant/think",  # HyperCLOVA X
    "<|open|>think<|sep|>",  # Kimi K3
)
"""Of models whose thought and answer are two messages: there is no block."""


def think_tags(end: str, template: str) -> tuple[str, str]:
    """How a model writes a think block.

    Args:
        end: What its prompts end with, after the last message.
        template: Its chat template.
    """
    for text in (end, template):
        for tags in _THINK_TAGS:
            if tags[0] in text or tags[1] in text:
                return tags
        if text is end and (found := _TAG_IN_PROMPT.search(end)):
            return f"<{found[1]}>", f"</{found[1]}>"
    return OPEN, CLOSE


def writes_channels(end: str, template: str) -> bool:
    """Whether a model writes thought and answer as two messages."""
    return any(mark in end or mark in template for mark in _CHANNELS)


def names_assistant(text: str) -> bool:
    """Whether a template's text says that an assistant's message begins."""
    return re.search(r"assistant|model|bot|\bai\b", text, re.IGNORECASE) is not None
