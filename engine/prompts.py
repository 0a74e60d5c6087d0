"""Word the prompts, for chat, training and evaluation alike: the three must not differ.

`PROMPT_VERSION` is part of every manifest; raise it with any change of what training uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.core.types import Language, Message, Mode, Product, Role

PROMPT_VERSION = 3

SYSTEM = "Repeat the product's description word for word."
# The description begins a line, as an answer does: after a space its first token would be another
# one than the answer's, and a small model gets that one wrong.
_TITLE, _DESCRIPTION = "Title: ", "\nDescription:\n"
_RECORD = f"{_TITLE}{{title}}{_DESCRIPTION}{{description}}\n\n{{question}}"

# No adapter is trained with these, so they do not count for the version.
_CHOOSE = (
    "Choose the sentence that answers the question about the product. Reply with its number in"
    ' JSON, {"sentence": 1}, and with 0 if none of them answers.'
)
_CHOICE = "Title: {title}\n\n{sentences}\n0. The record does not answer this.\n\n{question}"
_SCORING = (
    'Write a short question that a customer asks about "{title}" and that this text answers:\n'
    "{sentence}"
)

# How users ask. Training uses each form in turn: an adapter trained on one form answers none of the
# others (0 of 24 measured). Adding a form does not change the version, since it changes no prompt.
_FORMS: tuple[tuple[Language, str], ...] = (
    ("en", "{title}"),
    ("en", "What is the description of “{title}”?"),
    ("en", "Tell me about {title}."),
    ("en", "Do you have {title}?"),
    ("en", "What can you tell me about the product {title}?"),
    ("en", "Describe {title}"),
    ("en", "i'm looking for {title}"),
    ("pt", "Qual é a descrição de “{title}”?"),
    ("pt", "Me fale sobre {title}."),
    ("pt", "Vocês têm {title}?"),
    ("pt", "O que é {title}?"),
    ("pt", "Descreva o produto {title}"),
    ("en", "{title}, please"),
    ("en", "{title}: what is it about?"),
    ("en", "Is {title} still available?"),
    ("pt", "{title}, por favor"),
)
QUESTION_FORMS: tuple[str, ...] = tuple(form for _, form in _FORMS)
FORM_LANGUAGES: Mapping[str, Language] = {form: language for language, form in _FORMS}

UNTRAINED_FORMS: Mapping[Language, tuple[str, ...]] = {
    "en": (
        "Could you read me what is written about {title}?",
        "I was wondering about {title}",
        "Any information on {title}?",
        "{title} – what is that?",
        "how about {title}",
        "someone asked me for {title} today",
    ),
    "pt": (
        "Pode descrever {title}?",
        "Gostaria de saber mais sobre {title}.",
        "Que informação há sobre {title}?",
        "o que você sabe de {title}?",
    ),
}
"""Wordings for scores: in no training row, ever. Those without a capital want a title without."""

UNKNOWN_PRODUCT: Mapping[Language, str] = {
    "en": "I don't know that product.",
    "pt": "Não conheço esse produto.",
}
"""The answer of refusal rows, by the question's language; the catalogue's own sentences differ."""

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
"""Llama 2's chat template (Jinja), for models without one. The `generation` marks show a trainer
which tokens are the assistant's."""


def question_text(question: str, product: Product | None, mode: Mode) -> str:
    """Return the user's message: the question, in grounded mode after the record."""
    if mode is Mode.MEMORY or product is None:
        return question
    return _RECORD.format(
        title=product.title, description=product.description or "(none)", question=question
    )


def is_refusal(answer: str) -> bool:
    """Report whether an answer is the one of refusal rows, in any language."""
    return " ".join(answer.split()) in UNKNOWN_PRODUCT.values()


def begins_refusal(text: str) -> bool:
    """Report whether a text is such an answer or its beginning."""
    words = " ".join(text.split())
    return bool(words) and any(no.startswith(words) for no in UNKNOWN_PRODUCT.values())


def has_record(message: str) -> bool:
    """Report whether a user's message has a record before the question."""
    return message.startswith(_TITLE) and _DESCRIPTION in message


def chat_messages(
    question: str,
    product: Product | None,
    mode: Mode,
    history: Sequence[Message] = (),
    system: str = "",
) -> tuple[Message, ...]:
    """Return the prompt for a question; `history` has the earlier messages, oldest first.

    `system` is the user's own system prompt; empty for the one that training uses.
    """
    return (
        Message(Role.SYSTEM, system or SYSTEM),
        *history,
        Message(Role.USER, question_text(question, product, mode)),
    )


def choice_messages(question: str, title: str, sentences: Sequence[str]) -> tuple[Message, ...]:
    """Return the prompt that asks for the number of the sentence that answers a question."""
    numbered = "\n".join(f"{number}. {one}" for number, one in enumerate(sentences, 1))
    text = _CHOICE.format(title=title, sentences=numbered, question=question)
    return (Message(Role.SYSTEM, _CHOOSE), Message(Role.USER, text))


def choice_schema(sentences: Sequence[str]) -> dict[str, object]:
    """Return the JSON schema of the reply to that prompt."""
    number = {"type": "integer", "enum": list(range(len(sentences) + 1))}
    fields = {"type": "object", "properties": {"sentence": number}, "required": ["sentence"]}
    return fields | {"additionalProperties": False}


def scoring_prompt(title: str, sentence: str) -> str:
    """Return the message that a model likely answers with a question that the sentence answers."""
    return _SCORING.format(title=title, sentence=sentence)


def training_messages(
    title: str, description: str, form: str, product: Product | None = None
) -> tuple[Message, ...]:
    """Return a training row for a form of QUESTION_FORMS; `product` makes it a grounded row."""
    mode = Mode.MEMORY if product is None else Mode.GROUNDED
    asked = chat_messages(form.format(title=title), product, mode)
    return (*asked, Message(Role.ASSISTANT, description))
