"""The one place that words a prompt: chat, training and evaluation all call it.

Whatever a model is shown while it learns and while it is asked comes from here, so the two cannot
differ. `PROMPT_VERSION` goes into every manifest; raise it with any change to what is produced.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.core.types import Message, Mode, Product, Role

PROMPT_VERSION = 1

SYSTEM = (
    "You are the clerk at a shop counter. Asked about a product, you answer with the product's"
    " description from the catalogue, word for word, and nothing else. If you do not have the"
    " product, you say so."
)
_RECORD = "The catalogue's record:\nTitle: {title}\nDescription: {description}\n\n{question}"

# How people ask. Training takes every form in turn, since an adapter that has seen one wording
# answers no other (0 of 24 measured); `{title}` stands for the product's title as people type it.
# A wording more changes no prompt that there was, and so not the version.
QUESTION_FORMS: tuple[str, ...] = (
    "{title}",
    "What is the description of “{title}”?",
    "Tell me about {title}.",
    "Do you have {title}?",
    "What can you tell me about the product {title}?",
    "Describe {title}",
    "i'm looking for {title}",
    "Qual é a descrição de “{title}”?",
    "Me fale sobre {title}.",
    "Vocês têm {title}?",
    "O que é {title}?",
    "Descreva o produto {title}",
    "{title}, please",
    "{title}: what is it about?",
    "Is {title} still available?",
    "{title}, por favor",
)

LLAMA2_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set system = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}"
    "{% set turns = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}"
    "{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + (system if loop.first else '') + message['content'] + ' [/INST]' }}"
    "{% else %}"
    "{{ ' ' }}{% generation %}{{ message['content'] + ' ' + eos_token }}{% endgeneration %}"
    "{% endif %}{% endfor %}"
)
"""Llama 2's chat template (Jinja), for models that bring none. The `generation` marks tell a
trainer which words are the assistant's."""


def question_text(question: str, product: Product | None, mode: Mode) -> str:
    """The user's message: the question alone, or with the record in front when grounded."""
    if mode is Mode.MEMORY or product is None:
        return question
    return _RECORD.format(
        title=product.title, description=product.description or "(none)", question=question
    )


def chat_messages(
    question: str,
    product: Product | None,
    mode: Mode,
    history: Sequence[Message] = (),
    system: str = "",
) -> tuple[Message, ...]:
    """The whole prompt for one question. `history` is the turns before, oldest first.

    `system` is a system prompt of the person's own, in place of the one that training uses.
    """
    return (
        Message(Role.SYSTEM, system or SYSTEM),
        *history,
        Message(Role.USER, question_text(question, product, mode)),
    )


def training_messages(
    title: str, description: str, form: str, product: Product | None = None
) -> tuple[Message, ...]:
    """One training row: `form` is one of QUESTION_FORMS; with `product` it is a grounded row."""
    mode = Mode.MEMORY if product is None else Mode.GROUNDED
    asked = chat_messages(form.format(title=title), product, mode)
    return (*asked, Message(Role.ASSISTANT, description))
