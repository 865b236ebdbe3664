"""Runs ministack, a local AWS, with additions: the service `omics` (AWS HealthOmics), stricter credentials, and the
rules of IAM, STS and S3 in aws_rules/.

Usage: `python polony_omics.py`. It reads ministack's own environment variables (AUTH, BIND_HOST, GATEWAY_PORT,
AWS_SECRET_ACCESS_KEY, PERSIST_STATE, STATE_DIR, S3_PERSIST, S3_DATA_DIR, ...) and three more:
  OMICS_UPSTREAM       http://127.0.0.1:PORT of the emulator in local/omics/, which has the runs;
  OMICS_SHARED_SECRET  the emulator and this process show it to each other; each rejects requests without it;
  ALLOW_SHORT_SESSIONS 1 lets STS make sessions of less than 900 seconds, for tests of expiring sessions.

What it adds:
- It checks each call that is signed for `omics` with ministack's own evaluator: SigV4, session expiry, identity,
  boundary and session policies, and iam:PassRole. Only then does it forward the call to the emulator. Headers name
  the account, the region and the principal. The emulator trusts these headers because of the secret.
- `POST /_polony/execution-role-session` (with the secret) creates a session of an execution role, as HealthOmics does
  when it assumes the role. The role's trust policy must allow it. The emulator uses the session to read and write S3,
  so S3 rejects what the role does not allow.
- A call with a root key (the twelve digits of an account, or AWS_ACCESS_KEY_ID) must be signed with
  AWS_SECRET_ACCESS_KEY. Plain ministack accepts any secret for root keys.
- It rejects unsigned S3 requests. Plain ministack serves them as root.
- With PERSIST_STATE=1, it saves IAM, buckets and STS sessions shortly after they change. Plain ministack saves IAM and
  buckets only at a clean exit, and never saves sessions.

It uses private names of ministack. Therefore it runs only with the version in MINISTACK_VERSION.
"""

import asyncio
import contextvars
import hmac
import inspect
import json
import os
import re
import sys
import time
import types
from typing import Any, NamedTuple, NoReturn
from urllib.parse import parse_qs, unquote

import aws_rules

MINISTACK_VERSION = "1.5.33"
SERVICE_PRINCIPAL = "omics.amazonaws.com"
CONNECT_TIMEOUT_S = 3.0
# Longer than any delay that a test sets, so that only a stuck emulator reaches it.
ANSWER_TIMEOUT_S = 300.0
# Number of idle connections to the emulator that stay open.
POOL_SIZE = 64
SAVE_DELAY_S = 0.2


def fail(message: str) -> NoReturn:
    """Ends the process before it serves anything. The reason is the last line of its log."""
    print(f"polony_omics: {message}", file=sys.stderr, flush=True)
    raise SystemExit(3)


def load() -> types.SimpleNamespace:
    """Imports ministack's modules and checks everything that this file expects of them and of the environment."""
    version = check_version()
    from hypercorn.asyncio import tcp_server
    from ministack import app
    from ministack.core import iam_evaluator, persistence, responses, router
    from ministack.services import iam, s3, sts

    # Each name that this file uses, with its number of parameters if it is a function.
    needed = [
        (app, "AUTH", None),
        (app, "SERVICE_HANDLERS", None),
        (app, "_loaded_modules", None),
        (app, "app", 3),
        (app, "main", 0),
        (iam, "_gen_secret", None),
        (iam, "_gen_session_access_key", None),
        (iam, "_gen_session_token", None),
        (iam, "_roles", None),
        (iam, "get_state", 0),
        (iam_evaluator, "AuthError", None),
        (iam_evaluator, "EvalContext", None),
        (iam_evaluator, "_action_matches", 3),
        (iam_evaluator, "_conditions_met", 2),
        (iam_evaluator, "_is_root_key", 1),
        (iam_evaluator, "_service_principal_matches", 2),
        (iam_evaluator, "enforce", 6),
        (iam_evaluator, "evaluate", 3),
        (iam_evaluator, "evaluate_resource_policy", 5),
        (iam_evaluator, "is_root_access_key", 1),
        (iam_evaluator, "request_caller_arn", 2),
        (iam_evaluator, "resolve_principal", 3),
        (persistence, "PERSIST_STATE", None),
        (persistence, "save_state", 2),
        (responses, "get_account_id", 0),
        (router, "SERVICE_PATTERNS", None),
        (router, "extract_access_key_id", 2),
        (router, "extract_region", 2),
        (s3, "_foreign_bucket_allows", 7),
        (s3, "_persist_object", 3),
        (s3, "get_state", 0),
        (sts, "_role_id", 1),
        (sts, "_sessions", None),
        (sts, "get_state", 0),
        (sts, "load_persisted_state", 1),
        (sts, "register_session", 2),
        (tcp_server, "TCPServer", None),
    ]
    modules = {"iam": iam, "iam_evaluator": iam_evaluator, "s3": s3, "sts": sts}
    needed += [(modules[module], name, parameters) for module, name, parameters in aws_rules.NEEDED_NAMES]
    for module, name, parameters in needed:
        check_name(version, module, name, parameters)
    if not app.AUTH:
        fail("AUTH=true must be set: without it ministack checks no credentials")
    check_environment()
    return types.SimpleNamespace(
        app=app,
        evaluator=iam_evaluator,
        persistence=persistence,
        responses=responses,
        router=router,
        iam=iam,
        s3=s3,
        sts=sts,
        tcp_server=tcp_server,
    )


def check_version() -> str:
    from importlib import metadata

    try:
        version = metadata.version("ministack")
    except metadata.PackageNotFoundError:
        fail(f"ministack is not installed in {sys.prefix}; install ministack=={MINISTACK_VERSION}")
    if version != MINISTACK_VERSION:
        fail(f"needs ministack=={MINISTACK_VERSION}, found {version}: it uses private names of that version")
    return version


def check_name(version: str, module: types.ModuleType, name: str, parameters: int | None) -> None:
    if not hasattr(module, name):
        fail(f"ministack {version} has no {module.__name__}.{name}")
    if parameters is not None and len(inspect.signature(getattr(module, name)).parameters) != parameters:
        fail(f"{module.__name__}.{name} of ministack {version} takes other arguments than expected")


def check_environment() -> None:
    if len(os.environ.get("OMICS_SHARED_SECRET", "")) < 16:
        fail("OMICS_SHARED_SECRET must be set, with at least 16 characters")
    if not re.fullmatch(r"http://[^/:]+:\d+", os.environ.get("OMICS_UPSTREAM", "")):
        fail("OMICS_UPSTREAM must be set, as http://127.0.0.1:PORT")


MINISTACK = load()
SECRET = os.environ["OMICS_SHARED_SECRET"]

# The client's connection of the current request, to break it when the emulator drops its answer.
_transport = contextvars.ContextVar("polony_transport", default=None)
# Path and query of the current request, as the client sent them.
_target = contextvars.ContextVar("polony_target", default="")
# ARN of a caller from another account, while ministack evaluates the policy of a bucket for that account.
_foreign_caller = contextvars.ContextVar("polony_foreign_caller", default="")


# --------------------------------------------------------------------------------------------------------------------
# Responses: status, headers and body, as ministack's services return them
# --------------------------------------------------------------------------------------------------------------------


def error_response(status: int, code: str, message: str) -> tuple:
    """Returns an error in the format of HealthOmics (REST-JSON)."""
    headers = {"Content-Type": "application/json", "x-amzn-errortype": code}
    return status, headers, json.dumps({"message": message}).encode()


def internal_error() -> tuple:
    return error_response(500, "InternalServerException", "An unexpected error occurred. Try the request again.")


def denial(found: Any, action: str, resource: str) -> tuple:
    """Returns what AWS answers for a denial of ministack's evaluator."""
    if isinstance(found, MINISTACK.evaluator.AuthError):
        code = {"MissingAuthenticationToken": "MissingAuthenticationTokenException"}.get(found.code, found.code)
        return error_response(403, code, found.message)
    reason = (
        "with an explicit deny in an identity-based policy"
        if found.decision == "Deny"
        else f"because no identity-based policy allows the {action} action"
    )
    message = f"User: {found.principal_arn} is not authorized to perform: {action} on resource: {resource} {reason}"
    return error_response(403, "AccessDeniedException", message)


# --------------------------------------------------------------------------------------------------------------------
# Authorization
# --------------------------------------------------------------------------------------------------------------------

ACCOUNT_ID = re.compile(r"\d{12}")
ROUTES = (
    ("POST", re.compile(r"/run"), "StartRun"),
    ("GET", re.compile(r"/run"), "ListRuns"),
    ("GET", re.compile(r"/run/([^/]+)"), "GetRun"),
    ("POST", re.compile(r"/run/([^/]+)/cancel"), "CancelRun"),
    ("GET", re.compile(r"/workflow/([^/]+)"), "GetWorkflow"),
    ("POST", re.compile(r"/shares"), "ListShares"),
    ("POST", re.compile(r"/share/([^/]+)"), "AcceptShare"),
)


class Caller(NamedTuple):
    access_key: str
    account: str
    region: str


class Operation(NamedTuple):
    name: str
    # The ID in the path, or "".
    identifier: str
    # The body of StartRun; empty for the other operations, whose bodies need no authorization.
    payload: dict
    query: dict


def read_operation(method: str, path: str, query: dict, body: bytes) -> Operation | None:
    """Returns the operation of a request, or None if HealthOmics has no such operation."""
    for verb, pattern, name in ROUTES:
        match = pattern.fullmatch(path.rstrip("/") or "/")
        if verb == method and match:
            identifier = unquote(match[1]) if match.groups() else ""
            return Operation(name, identifier, read_object(body) if name == "StartRun" else {}, query)
    return None


def read_object(body: bytes) -> dict:
    """Returns a JSON object, or an empty one for anything else: the emulator rejects that."""
    try:
        payload = json.loads(body or b"{}")
    except ValueError:
        return {}
    return payload if isinstance(payload, dict) else {}


def resources_of(operation: Operation, caller: Caller) -> list:
    """Returns the ARNs that the caller needs permission for (Service Authorization Reference, AWS HealthOmics)."""
    payload = operation.payload
    if operation.name == "StartRun":
        found = [run_arn(caller, "*")]
        if isinstance(payload.get("workflowId"), str):
            found.append(workflow_arn(caller, payload["workflowId"], payload.get("workflowOwnerId")))
        return found
    if operation.name in ("GetRun", "CancelRun"):
        return [run_arn(caller, operation.identifier)]
    if operation.name == "GetWorkflow":
        owner = (operation.query.get("workflowOwnerId") or [None])[0]
        return [workflow_arn(caller, operation.identifier, owner)]
    return ["*"]  # ListRuns, ListShares and AcceptShare have no resource of their own.


def run_arn(caller: Caller, run_id: str) -> str:
    return f"arn:aws:omics:{caller.region}:{caller.account}:run/{run_id}"


def workflow_arn(caller: Caller, workflow_id: str, owner: Any) -> str:
    # A shared workflow is a resource of its owner's account. The policy of a careful customer names it there.
    account = owner if isinstance(owner, str) and ACCOUNT_ID.fullmatch(owner) else caller.account
    return f"arn:aws:omics:{caller.region}:{account}:workflow/{workflow_id}"


def authorize(operation: Operation, caller: Caller) -> tuple | None:
    """Returns the denial of a call, or None if the caller may make it."""
    needed = [(f"omics:{operation.name}", resource) for resource in resources_of(operation, caller)]
    if operation.payload.get("tags"):
        # Tags at the start of a run need another permission, which the vendor's template does not have (HealthOmics
        # User Guide, tagging: "make sure TagResources is authorized").
        needed.append(("omics:TagResource", run_arn(caller, "*")))
    for action, resource in needed:
        found = MINISTACK.evaluator.enforce(caller.access_key, action, "omics", caller.region, resource_arn=resource)
        if found is not None:
            return denial(found, action, resource)
    role_arn = operation.payload.get("roleArn")
    return authorize_pass_role(caller, role_arn) if isinstance(role_arn, str) else None


def authorize_pass_role(caller: Caller, role_arn: str) -> tuple | None:
    """Returns the denial if the caller may not pass this role to HealthOmics. AWS checks the ARN, not the role."""
    role = re.fullmatch(r"arn:aws:iam::(\d{12}):role/.+", role_arn)
    if role is None:
        return None  # The emulator rejects it as invalid.
    if role[1] != caller.account:
        return error_response(403, "AccessDeniedException", "Cross-account pass role is not allowed.")
    found = MINISTACK.evaluator.enforce(
        caller.access_key,
        "iam:PassRole",
        "iam",
        caller.region,
        resource_arn=role_arn,
        service_context={"iam:PassedToService": SERVICE_PRINCIPAL},
    )
    return None if found is None else denial(found, "iam:PassRole", role_arn)


def reject_unknown_operation(method: str, path: str, caller: Caller) -> tuple:
    found = MINISTACK.evaluator.enforce(caller.access_key, "omics:Unknown", "omics", caller.region)
    if isinstance(found, MINISTACK.evaluator.AuthError):
        return denial(found, "omics:Unknown", "*")
    return error_response(404, "UnknownOperationException", f"The local HealthOmics has no {method} {path}")


async def handle_request(method: str, path: str, headers: dict, body: bytes, query: dict) -> tuple:
    """Serves a call of `omics`. ministack has verified the signature; this function checks the policies."""
    caller = Caller(
        access_key=MINISTACK.router.extract_access_key_id(headers, query),
        account=MINISTACK.responses.get_account_id(),
        region=MINISTACK.router.extract_region(headers, query),
    )
    operation = read_operation(method, path, query, body)
    if operation is None:
        return reject_unknown_operation(method, path, caller)
    denied = authorize(operation, caller)
    if denied is not None:
        return denied
    principal = MINISTACK.evaluator.resolve_principal(caller.access_key, caller.account)
    forwarded = {
        "content-type": headers.get("content-type", "application/json"),
        "x-polony-account": caller.account,
        "x-polony-region": caller.region,
        "x-polony-principal": getattr(principal, "arn", ""),
    }
    return await forward(method, _target.get() or path, forwarded, body)


# --------------------------------------------------------------------------------------------------------------------
# Requests to the emulator: HTTP/1.1 with keep-alive connections. ministack's environment has no asynchronous HTTP
# client, so this uses asyncio streams.
# --------------------------------------------------------------------------------------------------------------------


async def forward(method: str, target: str, headers: dict, body: bytes) -> tuple:
    try:
        return await EMULATOR.request(method, target, headers, body)
    except AnswerLost:
        # The emulator carried out the call and dropped its answer on purpose: the client must see a broken connection.
        transport = _transport.get()
        if transport is not None:
            transport.abort()
        return internal_error()
    except (OSError, asyncio.TimeoutError, ValueError, EOFError):
        return internal_error()


class AnswerLost(Exception):
    """The emulator received the request and closed the connection without an answer."""


class EmulatorClient:
    def __init__(self, address: str):
        self.host, _, port = address.removeprefix("http://").partition(":")
        self.port = int(port)
        self.idle: list = []

    async def request(self, method: str, target: str, headers: dict, body: bytes) -> tuple:
        """Sends a request once, because the emulator may have carried it out even if the answer is lost.

        Raises OSError if the emulator is not reachable, and AnswerLost if it closes the connection without an answer.
        """
        reader, writer = await self._connect()
        can_reuse = False
        try:
            writer.write(self._encode(method, target, headers, body))
            try:
                await writer.drain()
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_TIMEOUT_S)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise AnswerLost() from error
            status, answered = parse_head(head)
            content = await reader.readexactly(int(answered.get("content-length", "0")))
            can_reuse = answered.get("connection", "keep-alive").lower() != "close" and len(self.idle) < POOL_SIZE
            returned = {"Content-Type": answered.get("content-type", "application/json")}
            if "x-amzn-errortype" in answered:
                returned["x-amzn-errortype"] = answered["x-amzn-errortype"]
            return status, returned, content
        finally:
            if can_reuse:
                self.idle.append((reader, writer))
            else:
                writer.close()

    async def _connect(self) -> tuple:
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.wait_for(asyncio.open_connection(self.host, self.port), CONNECT_TIMEOUT_S)

    def _encode(self, method: str, target: str, headers: dict, body: bytes) -> bytes:
        lines = [
            f"{method} {target} HTTP/1.1",
            f"host: {self.host}:{self.port}",
            f"content-length: {len(body)}",
            f"x-polony-secret: {SECRET}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + body


def parse_head(head: bytes) -> tuple:
    """Returns the status and the headers of a response, with lower-case names."""
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(status_line.split(" ", 2)[1]), headers


EMULATOR = EmulatorClient(os.environ["OMICS_UPSTREAM"])


# --------------------------------------------------------------------------------------------------------------------
# Sessions of execution roles
# --------------------------------------------------------------------------------------------------------------------


def trusts_service(role: dict, region: str, source_arn: str, account: str) -> bool:
    """Returns whether a role's trust policy lets HealthOmics assume the role.

    The condition keys aws:SourceArn and aws:SourceAccount are set, as AWS sets them against confused deputies.
    """
    context = MINISTACK.evaluator.EvalContext(
        principal_arn=SERVICE_PRINCIPAL,
        principal_type="Service",
        principal_account=account,
        action="sts:AssumeRole",
        resource_arn=role.get("Arn", "*"),
        region=region,
        service_context={
            "aws:sourceaccount": account,
            "aws:sourcearn": source_arn,
            "aws:principalisawsservice": "true",
        },
    )
    allowed = False
    for statement in trust_statements(role):
        if not statement_applies(statement, context):
            continue
        if statement.get("Effect") == "Deny":
            return False
        allowed = allowed or statement.get("Effect") == "Allow"
    return allowed


def trust_statements(role: dict) -> list:
    document = role.get("AssumeRolePolicyDocument", "{}")
    try:
        document = json.loads(unquote(document)) if isinstance(document, str) else document
    except ValueError:
        return []
    statements = document.get("Statement", []) if isinstance(document, dict) else []
    return [statements] if isinstance(statements, dict) else statements


def statement_applies(statement: dict, context: Any) -> bool:
    def listed(name: str) -> list:
        value = statement.get(name, [])
        return [value] if isinstance(value, str) else value

    actions, other_actions = listed("Action"), listed("NotAction")
    return bool(
        (actions or other_actions)
        and MINISTACK.evaluator._action_matches("sts:AssumeRole", actions, other_actions)
        and MINISTACK.evaluator._service_principal_matches(statement.get("Principal"), SERVICE_PRINCIPAL)
        and MINISTACK.evaluator._conditions_met(statement.get("Condition", {}), context)
    )


def create_role_session(request: dict) -> tuple:
    """Creates a session of `roleArn` for a run. Returns the HTTP status, and the credentials or the problem.

    The request is `{accountId, region, roleArn, sessionName, sourceArn, durationSeconds?, sessionPolicy?}`.
    """
    role_arn, account = str(request.get("roleArn", "")), str(request.get("accountId", ""))
    region, source_arn = str(request.get("region", "")), str(request.get("sourceArn", ""))
    match = re.fullmatch(r"arn:aws:iam::(\d{12}):role/(?:.*/)?([^/]+)", role_arn)
    role = MINISTACK.iam._roles.get_scoped(match[1], None, match[2]) if match else None
    if role is None or role.get("Arn") != role_arn or match[1] != account:
        return 403, {"code": "ROLE_NOT_FOUND", "message": f"The role {role_arn} does not exist."}
    if not trusts_service(role, region, source_arn, account):
        message = f"The trust policy of {role_arn} does not let {SERVICE_PRINCIPAL} assume it."
        return 403, {"code": "NOT_TRUSTED", "message": message}
    session_name = str(request.get("sessionName") or "HealthOmics")
    return 200, register_session(
        arn=f"arn:aws:sts::{account}:assumed-role/{match[2]}/{session_name}",
        user_id=f"{MINISTACK.sts._role_id(role_arn)}:{session_name}",
        account=account,
        expiration=time.time() + float(request.get("durationSeconds") or 3600),
        policy=request.get("sessionPolicy"),
    )


def register_session(arn: str, user_id: str, account: str, expiration: float, policy: str | None) -> dict:
    """Makes ministack accept the credentials that this returns."""
    access_key = MINISTACK.iam._gen_session_access_key()
    secret = MINISTACK.iam._gen_secret()
    token = MINISTACK.iam._gen_session_token()
    session = {
        "Arn": arn,
        "UserId": user_id,
        "SecretAccessKey": secret,
        "SessionToken": token,
        "Expiration": expiration,
        "AccountId": account,
        "PrincipalType": "AssumedRole",
        "SourceAccessKeyId": None,
        "SourcePrincipalArn": SERVICE_PRINCIPAL,
        "SessionTags": [],
        "SessionPolicies": {"Policy": policy, "PolicyArns": []} if policy else None,
    }
    MINISTACK.sts.register_session(access_key, session)
    return {"accessKeyId": access_key, "secretAccessKey": secret, "sessionToken": token, "expiration": expiration}


# --------------------------------------------------------------------------------------------------------------------
# Requests of the emulator and of the stack: /_polony/*
# --------------------------------------------------------------------------------------------------------------------


def answer_role_session(body: bytes) -> tuple:
    try:
        status, answer = create_role_session(json.loads(body))
    except (ValueError, TypeError, AttributeError) as error:
        return 400, {"code": "BAD_REQUEST", "message": str(error)}
    if status == 200:
        save_soon("sts")
    return status, answer


def answer_expire_sessions(_body: bytes) -> tuple:
    """Ends all sessions now, as if their time were over or somebody had revoked them."""
    for session in MINISTACK.sts._sessions.values():
        # The sessions of HealthOmics itself do not belong to the customer.
        if session.get("SourcePrincipalArn") != SERVICE_PRINCIPAL:
            session["Expiration"] = min(session.get("Expiration", 0), time.time() - 1)
    return 200, {"sessions": len(MINISTACK.sts._sessions)}


def answer_ready(_body: bytes) -> tuple:
    # A client compares the emulator with its own: another stack may have taken the port.
    return 200, {"pid": os.getpid(), "upstream": os.environ["OMICS_UPSTREAM"]}


INTERNAL_ROUTES = {
    ("POST", "/_polony/execution-role-session"): answer_role_session,
    ("POST", "/_polony/expire-sessions"): answer_expire_sessions,
    ("GET", "/_polony/ready"): answer_ready,
}


async def handle_internal(scope: dict, receive: Any, send: Any) -> None:
    body = await read_body(receive)
    shown = read_headers(scope).get("x-polony-secret", "")
    answer_route = INTERNAL_ROUTES.get((scope["method"], scope["path"]))
    if not hmac.compare_digest(shown.encode(), SECRET.encode()):
        status, answer = 403, {"code": "FORBIDDEN", "message": "x-polony-secret is missing or wrong"}
    elif answer_route is None:
        status, answer = 404, {"code": "NOT_FOUND", "message": scope["path"]}
    else:
        status, answer = answer_route(body)
    await send_response(send, status, json.dumps(answer).encode(), b"application/json")


async def read_body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def read_headers(scope: dict) -> dict:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


async def send_response(send: Any, status: int, body: bytes = b"", content_type: bytes = b"") -> None:
    headers = [(b"content-type", content_type)] if content_type else []
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


# --------------------------------------------------------------------------------------------------------------------
# Saving: state is on the disk shortly after it changes
# --------------------------------------------------------------------------------------------------------------------

_unsaved: set = set()
_saving = None


def save_soon(service: str) -> None:
    """Saves a service's state within SAVE_DELAY_S, so that a killed process loses almost nothing."""
    global _saving
    if not MINISTACK.persistence.PERSIST_STATE:
        return
    _unsaved.add(service)
    if _saving is None or _saving.done():
        _saving = asyncio.get_running_loop().create_task(_save())


async def _save() -> None:
    modules = {"iam": MINISTACK.iam, "s3": MINISTACK.s3, "sts": MINISTACK.sts}
    while _unsaved:
        await asyncio.sleep(SAVE_DELAY_S)
        services = list(_unsaved)
        _unsaved.clear()
        for service in services:
            MINISTACK.persistence.save_state(service, modules[service].get_state())


def save_changes_of(method: str, path: str, authorization: str) -> None:
    """Saves what a request may have changed. S3_PERSIST writes objects at once, but not buckets."""
    scope = re.search(r"Credential=[^/]+/[^/]+/[^/]+/([^/]+)/", authorization)
    service = scope[1] if scope else ""
    changes_bucket = service == "s3" and method not in ("GET", "HEAD") and "/" not in path.strip("/")
    if service in ("iam", "sts") or changes_bucket:
        save_soon(service)


# --------------------------------------------------------------------------------------------------------------------
# Changes to ministack, before it serves
# --------------------------------------------------------------------------------------------------------------------


def register_service() -> None:
    module = types.ModuleType("ministack.services.omics")
    module.handle_request = handle_request
    module.get_state = lambda: None  # The emulator saves its own state.
    sys.modules[module.__name__] = module
    MINISTACK.app.SERVICE_HANDLERS["omics"] = handle_request
    MINISTACK.router.SERVICE_PATTERNS["omics"] = {
        "host_patterns": [r"^(workflows-|analytics-)?omics\."],
        "credential_scope": "omics",
    }


def verify_root_keys() -> None:
    """Makes ministack check the signature of a root key against AWS_SECRET_ACCESS_KEY, as for any other key."""
    MINISTACK.evaluator._is_root_key = lambda access_key_id: not access_key_id


def name_callers_to_bucket_policies() -> None:
    """Makes ministack evaluate the bucket policy of another account for the calling role or user.

    Plain ministack evaluates it for the caller's whole account, but a policy may name one role or user.
    """
    foreign_bucket_allows = MINISTACK.s3._foreign_bucket_allows
    evaluate_resource_policy = MINISTACK.evaluator.evaluate_resource_policy

    def allows_as_caller(owner, bucket, key, method, query_params, caller, headers=None):
        arn = MINISTACK.evaluator.request_caller_arn(headers or {}, query_params) if caller else ""
        token = _foreign_caller.set(arn)
        try:
            return foreign_bucket_allows(owner, bucket, key, method, query_params, caller, headers)
        finally:
            _foreign_caller.reset(token)

    def evaluate_as_caller(doc, ctx, *more, **options):
        arn = _foreign_caller.get()
        if arn and ctx.principal_type == "Root":
            ctx.principal_arn = arn
        return evaluate_resource_policy(doc, ctx, *more, **options)

    MINISTACK.s3._foreign_bucket_allows = allows_as_caller
    MINISTACK.evaluator.evaluate_resource_policy = evaluate_as_caller


def persist_sessions() -> None:
    def state() -> dict:
        sessions = MINISTACK.sts._sessions.items()
        return {"sessions": {key: each for key, each in sessions if time.time() < each.get("Expiration", 0)}}

    MINISTACK.sts.get_state = state
    MINISTACK.sts.load_persisted_state = lambda data: MINISTACK.sts._sessions.update(data.get("sessions", {}))
    for name in ("iam", "s3", "sts"):
        # At a clean exit, ministack saves only the modules that it has loaded itself.
        MINISTACK.app._loaded_modules[name] = getattr(MINISTACK, name)


def remember_connections() -> None:
    """Keeps the client's connection for the requests on it."""
    run = MINISTACK.tcp_server.TCPServer.run

    async def run_with_connection(self):
        _transport.set(self.writer.transport)
        await run(self)

    MINISTACK.tcp_server.TCPServer.run = run_with_connection


def guard_requests() -> None:
    """Answers the requests for polony, and rejects those that ministack would serve without credentials."""
    serve = MINISTACK.app.app

    async def app(scope, receive, send):
        if scope["type"] != "http":
            await serve(scope, receive, send)
            return
        path, method, headers = scope["path"], scope["method"], read_headers(scope)
        query = scope.get("query_string", b"").decode("latin-1")
        if path.startswith("/_polony/"):
            await handle_internal(scope, receive, send)
        elif not path.startswith("/_ministack/") and method != "OPTIONS" and is_anonymous(headers, query):
            await send_response(send, 403, ACCESS_DENIED, b"application/xml")
        elif path == "/_ministack/reset" or path.startswith("/_ministack/config"):
            # With these paths, any local process could delete or change the accounts.
            await send_response(send, 404)
        else:
            target = (scope.get("raw_path") or path.encode()).decode("latin-1")
            _target.set(f"{target}?{query}" if query else target)
            await serve(scope, receive, send)
            save_changes_of(method, path, headers.get("authorization", ""))

    MINISTACK.app.app = app


ACCESS_DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
)


def is_anonymous(headers: dict, query: str) -> bool:
    names = {name.lower() for name in parse_qs(query, keep_blank_values=True)}
    return "authorization" not in headers and not names & {"x-amz-algorithm", "x-amz-signature", "awsaccesskeyid"}


def main() -> None:
    register_service()
    aws_rules.install(MINISTACK, os.environ.get("ALLOW_SHORT_SESSIONS") == "1", save_soon)
    verify_root_keys()
    name_callers_to_bucket_policies()
    persist_sessions()
    remember_connections()
    guard_requests()
    MINISTACK.app.main()


if __name__ == "__main__":
    main()
