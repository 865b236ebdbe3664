"""Patterns of policies, as IAM reads them (IAM User Guide, "IAM policy elements: Variables and tags")."""

import re
from typing import Any

NEEDED_NAMES = (("iam_evaluator", "_fnmatch_compile", 2),)
TOKEN = re.compile(r"\$\{([*?$])\}|([*?])|([^*?$]+|\$)", re.DOTALL)
CACHE_SIZE = 4096


def install(ministack: Any) -> None:
    """Makes `${*}`, `${?}` and `${$}` stand for these characters, and wildcards match line ends too.

    Plain ministack takes the star in `${*}` for a wildcard. It does not know the other variables, nor does this.
    """
    compiled: dict[tuple[str, bool], re.Pattern] = {}

    def compile_pattern(pattern: str, ignore_case: bool) -> re.Pattern:
        found = compiled.get((pattern, ignore_case))
        if found is None:
            flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
            found = re.compile(f"(?:{to_expression(pattern)})\\Z", flags)
            if len(compiled) < CACHE_SIZE:
                compiled[pattern, ignore_case] = found
        return found

    ministack.evaluator._fnmatch_compile = compile_pattern


def to_expression(pattern: str) -> str:
    wild = {"*": ".*", "?": "."}
    return "".join(
        wild[match[2]] if match[2] else re.escape(match[1] or match[3]) for match in TOKEN.finditer(pattern)
    )
