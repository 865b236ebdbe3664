"""Rules of IAM (IAM API Reference; IAM User Guide, "IAM and AWS STS quotas")."""

import re
from typing import Any, Callable

from .models import Model, first, printable
from .policies import identity_policy_error, trust_policy_error
from .principals import Principals

NEEDED_NAMES = (
    ("iam", "_IAM_HANDLERS", None),
    ("iam", "_access_keys", None),
    ("iam", "_error", 4),
    ("iam", "_group_inline_policies", None),
    ("iam", "_roles", None),
    ("iam", "_user_inline_policies", None),
    ("iam", "_users", None),
    ("iam", "handle_request", 5),
)
# Quotas. IAM does not count white space in the policies of users, groups and roles.
ACCESS_KEYS_PER_USER = 2
TRUST_POLICY_SIZE = 2048
INLINE_POLICY_SIZE = {"user": 2048, "group": 5120, "role": 10240}


def install(ministack: Any, principals: Principals) -> None:
    rules = IamRules(ministack, principals)
    handlers = ministack.iam._IAM_HANDLERS
    for operation in list(handlers):
        handlers[operation] = rules.guard(operation, handlers[operation])
    refuse_federated_users(ministack)


def refuse_federated_users(ministack: Any) -> None:
    """A session of GetFederationToken cannot call IAM (STS API Reference)."""
    handle = ministack.iam.handle_request

    async def handle_request(method: str, path: str, headers: dict, body: bytes, query_params: dict) -> tuple:
        session = ministack.sts._sessions.get(ministack.router.extract_access_key_id(headers, query_params))
        if session is not None and session.get("PrincipalType") == "FederatedUser":
            message = "The security token included in the request is invalid"
            return ministack.iam._error(403, "InvalidClientTokenId", message, ns="iam")
        return await handle(method, path, headers, body, query_params)

    ministack.iam.handle_request = handle_request


class IamRules:
    def __init__(self, ministack: Any, principals: Principals):
        self._iam = ministack.iam
        self._principals = principals
        self._model = Model("iam")
        self._checks: dict[str, Callable[[dict], tuple | None]] = {
            "CreateRole": self._check_new_role,
            "CreateUser": self._check_new_user,
            "UpdateAssumeRolePolicy": lambda params: self._check_trust(first(params, "PolicyDocument")),
            "PutRolePolicy": lambda params: self._check_inline_policy("role", params),
            "PutUserPolicy": lambda params: self._check_inline_policy("user", params),
            "PutGroupPolicy": lambda params: self._check_inline_policy("group", params),
            "CreatePolicy": self._check_managed_policy,
            "CreatePolicyVersion": self._check_managed_policy,
            "CreateAccessKey": self._check_access_keys,
            "DeleteUser": self._check_user_is_empty,
        }

    def guard(self, operation: str, handle: Callable[[dict], tuple]) -> Callable[[dict], tuple]:
        """Returns a handler that applies the rules before it, and makes policies forget deleted principals after it."""
        check = self._checks.get(operation, lambda params: None)

        def guarded(params: dict) -> tuple:
            message = self._model.validation_error(operation, params)
            if message is not None:
                return self._error(400, "ValidationError", message)
            refused = check(params)
            if refused is not None:
                return refused
            deleted = self._find_deleted(operation, params)
            answer = handle(params)
            if answer[0] == 200 and deleted is not None:
                self._principals.forget(deleted["Arn"], deleted.get("RoleId") or deleted["UserId"])
            return answer

        return guarded

    def _find_deleted(self, operation: str, params: dict) -> dict | None:
        """The role or user that an operation is about to delete."""
        if operation == "DeleteRole":
            return self._iam._roles.get(first(params, "RoleName"))
        return self._iam._users.get(first(params, "UserName")) if operation == "DeleteUser" else None

    def _check_new_role(self, params: dict) -> tuple | None:
        name = first(params, "RoleName")
        if is_taken(self._iam._roles, name):
            return self._error(409, "EntityAlreadyExists", f"Role with name {name} already exists.")
        return self._check_trust(first(params, "AssumeRolePolicyDocument"))

    def _check_new_user(self, params: dict) -> tuple | None:
        name = first(params, "UserName")
        if is_taken(self._iam._users, name):
            return self._error(409, "EntityAlreadyExists", f"User with name {name} already exists.")
        return None

    def _check_trust(self, document: str) -> tuple | None:
        message = trust_policy_error(document)
        if message is not None:
            return self._error(400, "MalformedPolicyDocument", message)
        unknown = self._principals.first_unknown(document)
        if unknown is not None:
            kind = unknown[0] if unknown[0] == "AWS" else unknown[0].upper()
            message = f'Invalid principal in policy: "{kind}":"{unknown[1]}"'
            return self._error(400, "MalformedPolicyDocument", message)
        if counted_size(document) > TRUST_POLICY_SIZE:
            return self._error(409, "LimitExceeded", f"Cannot exceed quota for ACLSizePerRole: {TRUST_POLICY_SIZE}")
        return None

    def _check_inline_policy(self, kind: str, params: dict) -> tuple | None:
        name = first(params, {"role": "RoleName", "user": "UserName", "group": "GroupName"}[kind])
        policies = self._inline_policies(kind, name)
        if policies is None:
            return None  # ministack answers NoSuchEntity.
        document = first(params, "PolicyDocument")
        message = identity_policy_error(document)
        if message is not None:
            return self._error(400, "MalformedPolicyDocument", message)
        others = [text for each, text in policies.items() if each != first(params, "PolicyName")]
        limit = INLINE_POLICY_SIZE[kind]
        if sum(counted_size(text) for text in [document, *others]) > limit:
            return self._error(409, "LimitExceeded", f"Maximum policy size of {limit} bytes exceeded for {kind} {name}")
        return None

    def _inline_policies(self, kind: str, name: str) -> dict | None:
        if kind == "role":
            role = self._iam._roles.get(name)
            return None if role is None else role.get("InlinePolicies", {})
        store = self._iam._users if kind == "user" else self._iam._groups
        policies = self._iam._user_inline_policies if kind == "user" else self._iam._group_inline_policies
        return (policies.get(name) or {}) if name in store else None

    def _check_managed_policy(self, params: dict) -> tuple | None:
        message = identity_policy_error(first(params, "PolicyDocument"))
        return None if message is None else self._error(400, "MalformedPolicyDocument", message)

    def _check_access_keys(self, params: dict) -> tuple | None:
        name = first(params, "UserName", "default")
        keys = [key for key in self._iam._access_keys.values() if key["UserName"] == name]
        if len(keys) < ACCESS_KEYS_PER_USER:
            return None
        message = f"Cannot exceed quota for AccessKeysPerUser: {ACCESS_KEYS_PER_USER}"
        return self._error(409, "LimitExceeded", message)

    def _check_user_is_empty(self, params: dict) -> tuple | None:
        name = first(params, "UserName")
        if name in self._iam._users and self._iam._user_inline_policies.get(name):
            return self._error(409, "DeleteConflict", "Cannot delete entity, must delete policies first.")
        return None

    def _error(self, status: int, code: str, message: str) -> tuple:
        return self._iam._error(status, code, printable(message), ns="iam")


def is_taken(store: Any, name: str) -> bool:
    """IAM does not tell names apart by case."""
    return any(each.lower() == name.lower() for each in store)


def counted_size(document: Any) -> int:
    return len(re.sub(r"\s", "", str(document)))
