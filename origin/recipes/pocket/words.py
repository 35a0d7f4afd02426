"""Two rules of English."""


def with_article(phrase: str) -> str:
    """ "an owl", "a fox"."""
    return f"{'an' if phrase[0].lower() in 'aeiou' else 'a'} {phrase}"


def capital(phrase: str) -> str:
    """The phrase as a sentence begins."""
    return phrase[0].upper() + phrase[1:]
