"""Principals of policies: they must exist, and a policy follows them by their unique IDs.

AWS stores the unique ID of a role or user. It shows the ARN while the role or user exists, and the ID after that. A new
role with the same name has another ID, so that old policies do not apply to it (IAM User Guide, "AWS JSON policy
elements: Principal").
"""

import json
import re
from typing import Any, Callable

from .policies import PARTITION, aws_principals, listed, read_document, statements_of

UNIQUE_ID = re.compile(r"A(?:ROA|IDA|GPA|NPA)[A-Z0-9]{12,}")
ENTITY_ARN = re.compile(r"arn:aws:iam::(\d{12}):(role|user)/(.+)")
SESSION_ARN = re.compile(r"arn:aws:sts::(\d{12}):assumed-role/([^/]+)/.+")
SERVICE = re.compile(r"[a-z0-9.-]+\.amazonaws\.com(?:\.cn)?")


class Principals:
    """The roles and users of all accounts, and the policies that name them."""

    def __init__(self, ministack: Any, save_soon: Callable[[str], None]):
        self._iam = ministack.iam
        self._s3 = ministack.s3
        self._save_soon = save_soon

    def first_unknown(self, text: str) -> tuple[str, str] | None:
        """Returns the first principal of a policy that does not exist, with its kind, such as ``("AWS", arn)``."""
        for statement in statements_of(read_document(text)):
            for name in ("Principal", "NotPrincipal"):
                principal = statement.get(name, "*")
                if not isinstance(principal, dict):
                    if principal != "*":
                        return "AWS", str(principal)
                    continue
                for kind, values in principal.items():
                    for value in listed(values):
                        if not isinstance(value, str) or not self._exists(kind, value):
                            return kind, str(value)
        return None

    def with_arns(self, text: str) -> str:
        """Returns a policy with the ARNs of roles and users in place of their unique IDs."""
        ids = {each["id"]: each["arn"] for each in self._entities()}
        return replace_principals(text, ids)

    def forget(self, arn: str, unique_id: str) -> None:
        """Makes all policies show the unique ID of a role or user that was deleted."""
        policies = self._s3._bucket_policies._data
        for key, text in list(policies.items()):
            policies[key] = replace_principals(text, {arn: unique_id})
        for role in list(self._iam._roles._data.values()):
            trust = role.get("AssumeRolePolicyDocument")
            if isinstance(trust, str):
                role["AssumeRolePolicyDocument"] = replace_principals(trust, {arn: unique_id})
        self._save_soon("s3")

    def _exists(self, kind: str, value: str) -> bool:
        if kind == "Service":
            return SERVICE.fullmatch(value) is not None
        if kind != "AWS":
            return True  # Federated and CanonicalUser: the local AWS has none of its own.
        # AWS knows which accounts exist; the local AWS takes any.
        if value == "*" or re.fullmatch(rf"\d{{12}}|arn:{PARTITION}:iam::\d{{12}}:root", value):
            return True
        session = SESSION_ARN.fullmatch(value)
        if session is not None:
            return self._iam._roles.get_scoped(session[1], None, session[2]) is not None
        if UNIQUE_ID.fullmatch(value):
            return any(each["id"] == value for each in self._entities())
        return self._find(value) is not None

    def _find(self, arn: str) -> dict | None:
        match = ENTITY_ARN.fullmatch(arn)
        if match is None:
            return None
        store = self._iam._roles if match[2] == "role" else self._iam._users
        found = store.get_scoped(match[1], None, match[3].rsplit("/", 1)[-1])
        return found if found is not None and found.get("Arn") == arn else None

    def _entities(self) -> list[dict]:
        roles = [{"id": each["RoleId"], "arn": each["Arn"]} for each in self._iam._roles._data.values()]
        return roles + [{"id": each["UserId"], "arn": each["Arn"]} for each in self._iam._users._data.values()]


def replace_principals(text: str, replacements: dict[str, str]) -> str:
    """Returns a policy with other principals. A policy without them keeps its text."""
    document = read_document(text)
    changed = False
    for statement in statements_of(document):
        for holder, value in list(aws_principals(statement)):
            if value in replacements:
                changed = True
                values = holder["AWS"]
                holder["AWS"] = (
                    [replacements.get(each, each) for each in values]
                    if isinstance(values, list)
                    else replacements[values]
                )
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")) if changed else text
