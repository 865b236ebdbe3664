"""Rules of STS (STS API Reference: AssumeRole, GetFederationToken)."""

import contextvars
import json
import zlib
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from .models import Model, first, printable
from .policies import identity_policy_error

NEEDED_NAMES = (
    ("iam", "_roles", None),
    ("iam_evaluator", "CredentialResolutionError", None),
    ("sts", "_caller_identity", 2),
    ("sts", "_error", 4),
    ("sts", "handle_request", 5),
    ("sts", "register_session", 2),
)
# The length of a session where a call names none, and the longest of a role whose maximum nobody has set.
DEFAULT_SECONDS = 3600
# The longest session of a role that a session of a role assumes.
CHAINED_SECONDS = 3600
SESSION_POLICY_CHARACTERS = 2048
# AWS packs a session policy into a format that it does not publish, and limits that too. This is a guess: most policies
# of 2,048 characters fit, and a list of long random names does not.
PACKED_BYTES = 1200
OPERATIONS = ("AssumeRole", "GetFederationToken")


class Assuming(NamedTuple):
    """A call of AssumeRole that ministack is about to authorize."""

    role_arn: str
    seconds: int
    # Whether the caller is a session of a role.
    is_chained: bool


_assuming: contextvars.ContextVar[Assuming | None] = contextvars.ContextVar("aws_rules_assuming", default=None)


class Refused(Exception):
    """Ends a request that ministack was about to serve."""

    def __init__(self, answer: tuple):
        super().__init__("refused by a rule of AWS")
        self.answer = answer


def install(ministack: Any, allow_short_sessions: bool) -> None:
    rules = StsRules(ministack, allow_short_sessions)
    handle = ministack.sts.handle_request
    register_session = ministack.sts.register_session

    async def handle_request(method: str, path: str, headers: dict, body: bytes, query_params: dict) -> tuple:
        params = read_params(headers, body, query_params)
        refused = rules.check(params)
        if refused is not None:
            return refused
        token = _assuming.set(None)
        try:
            if first(params, "Action") == "AssumeRole":
                _assuming.set(rules.check_assuming(params, headers, query_params))
            return await handle(method, path, headers, body, query_params)
        except Refused as refusal:
            return refusal.answer
        finally:
            _assuming.reset(token)

    def register_if_allowed(access_key: str, session: dict) -> None:
        rules.check_length(session)
        register_session(access_key, session)

    ministack.sts.handle_request = handle_request
    ministack.sts.register_session = register_if_allowed


def read_params(headers: dict, body: bytes, query_params: dict) -> dict:
    """Returns the parameters of a request, with a list of values for each name, as ministack reads them."""
    params = dict(query_params)
    if "amz-json" in headers.get("content-type", ""):
        params["Action"] = [headers.get("x-amz-target", "").split(".")[-1]]
        try:
            params.update({name: [str(value)] for name, value in json.loads(body or b"{}").items()})
        except (ValueError, AttributeError):
            pass
    elif body:
        params.update(parse_qs(body.decode("utf-8", "replace")))
    return params


class StsRules:
    def __init__(self, ministack: Any, allow_short_sessions: bool):
        self._ministack = ministack
        self._model = Model("sts")
        self._without_minimum = ("DurationSeconds",) if allow_short_sessions else ()

    def check(self, params: dict) -> tuple | None:
        """Checks what does not depend on the caller. Returns the answer to a request that AWS rejects."""
        operation = first(params, "Action")
        message = self._model.validation_error(operation, params, self._without_minimum)
        if message is not None:
            return self._error(400, "ValidationError", message)
        return self._check_policy(first(params, "Policy")) if operation in OPERATIONS else None

    def _check_policy(self, policy: str) -> tuple | None:
        if policy == "":
            return None
        if len(policy) > SESSION_POLICY_CHARACTERS:
            # The model has no maximum for AssumeRole, but the API Reference does.
            limit = f"Member must have length less than or equal to {SESSION_POLICY_CHARACTERS}"
            message = f"1 validation error detected: Value at 'policy' failed to satisfy constraint: {limit}"
            return self._error(400, "ValidationError", message)
        malformed = identity_policy_error(policy)
        if malformed is not None:
            return self._error(400, "MalformedPolicyDocument", malformed)
        packed = len(zlib.compress(policy.encode(), 9))
        if packed > PACKED_BYTES:
            percent = packed * 100 // PACKED_BYTES
            message = f"Packed policy consumes {percent}% of allotted space, please use smaller policy."
            return self._error(400, "PackedPolicyTooLarge", message)
        return None

    def check_assuming(self, params: dict, headers: dict, query_params: dict) -> Assuming | None:
        """Checks caller and role of AssumeRole. Raises Refused with AWS's answer."""
        caller = self._ministack.sts._caller_identity(headers, query_params)
        if isinstance(caller, self._ministack.evaluator.CredentialResolutionError):
            return None  # ministack answers with the error of the credentials.
        role_arn = first(params, "RoleArn")
        if caller["principalType"] == "Root":
            raise Refused(self._error(403, "AccessDenied", "Roles may not be assumed by root accounts."))
        # ministack finds a role by its name. AWS wants the whole ARN, with the path, and tells nobody whether it exists.
        role = self._find_role(role_arn)
        if caller["principalType"] == "FederatedUser" or role is None or role.get("Arn") != role_arn:
            message = f"User: {caller['userArn']} is not authorized to perform: sts:AssumeRole on resource: {role_arn}"
            raise Refused(self._error(403, "AccessDenied", message))
        seconds = int(first(params, "DurationSeconds", str(DEFAULT_SECONDS)))
        return Assuming(role_arn, seconds, caller["principalType"] == "AssumedRole")

    def _find_role(self, role_arn: str) -> dict | None:
        parts = role_arn.split(":")
        return self._ministack.iam._roles.get_scoped(parts[4], None, role_arn.rsplit("/", 1)[-1]) if parts[4:] else None

    def check_length(self, session: dict) -> None:
        """Checks the length of a session of a role, as AWS does after it has authorized the call.

        Raises Refused with AWS's answer.
        """
        call = _assuming.get()
        if call is None:
            return
        role = self._find_role(call.role_arn) or {}
        if call.seconds > role.get("MaxSessionDuration", DEFAULT_SECONDS):
            message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            raise Refused(self._error(400, "ValidationError", message))
        if call.is_chained and call.seconds > CHAINED_SECONDS:
            limit = "the 1 hour session limit for roles assumed by role chaining"
            raise Refused(self._error(400, "ValidationError", f"The requested DurationSeconds exceeds {limit}"))

    def _error(self, status: int, code: str, message: str) -> tuple:
        return self._ministack.sts._error(status, code, printable(message), ns="sts")
