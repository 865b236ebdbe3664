"""Runs ministack, a local AWS, with an `omics` service (AWS HealthOmics) and stricter credentials added.

Usage: `python polony_omics.py`, configured by ministack's own environment variables (AUTH, BIND_HOST, GATEWAY_PORT,
AWS_SECRET_ACCESS_KEY, PERSIST_STATE, STATE_DIR, S3_PERSIST, S3_DATA_DIR, ...) and
  OMICS_UPSTREAM       http://127.0.0.1:PORT of the emulator in local/omics/, which holds the runs;
  OMICS_SHARED_SECRET  what the emulator and this process show each other; without it either refuses the other.

What it adds:
- Calls signed for `omics` pass SigV4, session expiry, identity, boundary and session policies, and iam:PassRole here, in
  ministack's own evaluator; only then they are handed on to the emulator, with the account, region and principal in
  headers. The emulator believes these headers because of the secret.
- `POST /_polony/execution-role-session` (secret) mints a session of an execution role, as HealthOmics does by assuming
  it, if the role's trust policy lets the service principal do so. The emulator reads and writes S3 with it, so that S3
  refuses what the role may not do.
- Root keys (an account's twelve digits, or AWS_ACCESS_KEY_ID) must be signed with AWS_SECRET_ACCESS_KEY; stock
  ministack takes any secret for them. Unsigned S3 requests are refused; stock ministack serves them as root.
- With PERSIST_STATE=1, IAM, buckets and STS sessions are saved shortly after they change; stock ministack saves IAM and
  buckets at a clean exit only, and never sessions.

It leans on private names of ministack, so it runs with exactly the version it was written against and says so otherwise.
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
from urllib.parse import parse_qs, unquote

MINISTACK_VERSION = "1.5.33"
SERVICE_PRINCIPAL = "omics.amazonaws.com"
CONNECT_TIMEOUT_S = 3.0
# Longer than any delay a test scripts, shorter than a client waits for ever.
ANSWER_TIMEOUT_S = 300.0
# Idle connections kept open to the emulator.
POOL_SIZE = 64
SAVE_DELAY_S = 0.2


def fail(message: str) -> None:
    """Ends the process before it serves anything, with the reason as the last line of its log."""
    print(f"polony_omics: {message}", file=sys.stderr, flush=True)
    raise SystemExit(3)


def load():
    """Imports ministack and checks that each private name that is used below is there with the arguments expected."""
    from importlib import metadata

    try:
        version = metadata.version("ministack")
    except metadata.PackageNotFoundError:
        fail(f"ministack is not installed in {sys.prefix}; install ministack=={MINISTACK_VERSION}")
    if version != MINISTACK_VERSION:
        fail(f"needs ministack=={MINISTACK_VERSION}, found {version}: it relies on private names of that version")
    from hypercorn.asyncio import tcp_server
    from ministack import app
    from ministack.core import iam_evaluator, persistence, responses, router
    from ministack.services import iam, s3, sts

    needed = [
        (app, "main", 0), (app, "app", 3), (app, "AUTH", None), (app, "SERVICE_HANDLERS", None),
        (app, "_loaded_modules", None),
        (iam_evaluator, "_is_root_key", 1), (iam_evaluator, "is_root_access_key", 1), (iam_evaluator, "enforce", 6),
        (iam_evaluator, "evaluate", 3), (iam_evaluator, "EvalContext", None), (iam_evaluator, "AuthError", None),
        (iam_evaluator, "resolve_principal", 3), (iam_evaluator, "_action_matches", 3),
        (iam_evaluator, "request_caller_arn", 2), (iam_evaluator, "evaluate_resource_policy", 5), (s3, "_foreign_bucket_allows", 7),
        (iam_evaluator, "_conditions_met", 2), (iam_evaluator, "_service_principal_matches", 2),
        (persistence, "PERSIST_STATE", None), (persistence, "save_state", 2),
        (responses, "get_account_id", 0), (router, "SERVICE_PATTERNS", None), (router, "extract_region", 2),
        (router, "extract_access_key_id", 2), (iam, "_roles", None), (iam, "_gen_secret", None),
        (iam, "_gen_session_access_key", None), (iam, "_gen_session_token", None), (iam, "get_state", 0),
        (s3, "get_state", 0), (s3, "_persist_object", 3), (sts, "_sessions", None), (sts, "register_session", 2),
        (sts, "get_state", 0), (sts, "load_persisted_state", 1), (sts, "_role_id", 1), (tcp_server, "TCPServer", None),
    ]
    for module, name, arguments in needed:
        found = getattr(module, name, None)
        if not hasattr(module, name):
            fail(f"ministack {version} has no {module.__name__}.{name}")
        if arguments is not None and len(inspect.signature(found).parameters) != arguments:
            fail(f"{module.__name__}.{name} of ministack {version} takes other arguments than expected")
    if not app.AUTH:
        fail("AUTH=true must be set: without it nothing is enforced")
    if len(os.environ.get("OMICS_SHARED_SECRET", "")) < 16:
        fail("OMICS_SHARED_SECRET must be set, with at least 16 characters")
    if not re.fullmatch(r"http://[^/:]+:\d+", os.environ.get("OMICS_UPSTREAM", "")):
        fail("OMICS_UPSTREAM must be set, as http://127.0.0.1:PORT")
    return types.SimpleNamespace(app=app, evaluator=iam_evaluator, persistence=persistence, responses=responses,
                                 router=router, iam=iam, s3=s3, sts=sts, tcp_server=tcp_server)


M = load()
SECRET = os.environ["OMICS_SHARED_SECRET"]
UPSTREAM_HOST, _, UPSTREAM_PORT = os.environ["OMICS_UPSTREAM"].removeprefix("http://").partition(":")

# The client's connection of the request under way, for answers that must be lost.
_connection = contextvars.ContextVar("polony_connection", default=None)
# ARN of a caller whom the policy of another account's bucket is asked about.
_foreign_caller = contextvars.ContextVar("polony_foreign_caller", default="")


# --------------------------------------------------------------------------------------------------------------------
# Answers
# --------------------------------------------------------------------------------------------------------------------

def error(status: int, code: str, message: str):
    """An error as HealthOmics sends it (REST-JSON)."""
    return (status, {"Content-Type": "application/json", "x-amzn-errortype": code},
            json.dumps({"message": message}).encode())


def internal_error():
    return error(500, "InternalServerException", "An unexpected error occurred. Try the request again.")


def denial(found, action: str, resource: str):
    """The answer to a refusal by ministack's evaluator, in the words that AWS uses."""
    if isinstance(found, M.evaluator.AuthError):
        code = {"MissingAuthenticationToken": "MissingAuthenticationTokenException"}.get(found.code, found.code)
        return error(403, code, found.message)
    reason = ("with an explicit deny in an identity-based policy" if found.decision == "Deny"
              else f"because no identity-based policy allows the {action} action")
    return error(403, "AccessDeniedException",
                 f"User: {found.principal_arn} is not authorized to perform: {action} on resource: {resource} {reason}")


# --------------------------------------------------------------------------------------------------------------------
# Authorisation
# --------------------------------------------------------------------------------------------------------------------

ACCOUNT = re.compile(r"\d{12}")
ROUTES = (
    ("POST", re.compile(r"/run"), "StartRun"),
    ("GET", re.compile(r"/run"), "ListRuns"),
    ("GET", re.compile(r"/run/([^/]+)"), "GetRun"),
    ("POST", re.compile(r"/run/([^/]+)/cancel"), "CancelRun"),
    ("GET", re.compile(r"/workflow/([^/]+)"), "GetWorkflow"),
    ("POST", re.compile(r"/shares"), "ListShares"),
    ("POST", re.compile(r"/share/([^/]+)"), "AcceptShare"),
)


def resources(operation: str, identifier: str, payload: dict, query: dict, region: str, account: str) -> list[str]:
    """The ARNs that an operation is authorised on (Service Authorization Reference, AWS HealthOmics): all must be allowed."""
    def workflow(workflow_id, owner):
        # A shared workflow is a resource of its owner's account, where the policy of a careful customer names it.
        owner = owner if isinstance(owner, str) and ACCOUNT.fullmatch(owner) else account
        return f"arn:aws:omics:{region}:{owner}:workflow/{workflow_id}"

    if operation == "StartRun":
        found = [f"arn:aws:omics:{region}:{account}:run/*"]
        if isinstance(payload.get("workflowId"), str):
            found.append(workflow(payload["workflowId"], payload.get("workflowOwnerId")))
        return found
    if operation in ("GetRun", "CancelRun"):
        return [f"arn:aws:omics:{region}:{account}:run/{identifier}"]
    if operation == "GetWorkflow":
        return [workflow(identifier, (query.get("workflowOwnerId") or [None])[0])]
    return ["*"]  # ListRuns, ListShares and AcceptShare have no resource of their own


def pass_role_refused(access_key: str, role_arn: str, region: str, account: str):
    """The answer when the caller may not pass this role to HealthOmics, or None. AWS asks by ARN: the role need not exist."""
    role = re.fullmatch(r"arn:aws:iam::(\d{12}):role/.+", role_arn)
    if role is None:
        return None  # the emulator refuses it as invalid
    if role[1] != account:
        return error(403, "AccessDeniedException", "Cross-account pass role is not allowed.")
    found = M.evaluator.enforce(access_key, "iam:PassRole", "iam", region, resource_arn=role_arn,
                                service_context={"iam:PassedToService": SERVICE_PRINCIPAL})
    return None if found is None else denial(found, "iam:PassRole", role_arn)


async def handle_request(method: str, path: str, headers: dict, body: bytes, query: dict):
    """The omics service of ministack. The signature was verified by the dispatcher; the policies are asked here."""
    region = M.router.extract_region(headers, query)
    account = M.responses.get_account_id()
    access_key = M.router.extract_access_key_id(headers, query)
    for verb, pattern, operation in ROUTES:
        match = pattern.fullmatch(path.rstrip("/") or "/")
        if verb == method and match:
            break
    else:
        found = M.evaluator.enforce(access_key, "omics:Unknown", "omics", region)
        if isinstance(found, M.evaluator.AuthError):
            return denial(found, "omics:Unknown", "*")
        return error(404, "UnknownOperationException", f"The local HealthOmics has no {method} {path}")
    identifier = unquote(match[1]) if match.groups() else ""
    payload = {}
    if operation == "StartRun":
        try:
            payload = json.loads(body or b"{}")
        except ValueError:
            payload = {}
        if not isinstance(payload, dict):
            payload = {}
    for resource in resources(operation, identifier, payload, query, region, account):
        found = M.evaluator.enforce(access_key, f"omics:{operation}", "omics", region, resource_arn=resource)
        if found is not None:
            return denial(found, f"omics:{operation}", resource)
    if payload.get("tags"):
        # Tags at the start of a run need a permission of their own, which the vendor's template does not have (HealthOmics
        # User Guide, tagging: "make sure TagResources is authorized").
        tagged = f"arn:aws:omics:{region}:{account}:run/*"
        found = M.evaluator.enforce(access_key, "omics:TagResource", "omics", region, resource_arn=tagged)
        if found is not None:
            return denial(found, "omics:TagResource", tagged)
    if isinstance(payload.get("roleArn"), str):
        refused = pass_role_refused(access_key, payload["roleArn"], region, account)
        if refused is not None:
            return refused
    principal = M.evaluator.resolve_principal(access_key, account)
    forwarded = {
        "content-type": headers.get("content-type", "application/json"),
        "x-polony-account": account,
        "x-polony-region": region,
        "x-polony-principal": getattr(principal, "arn", ""),
    }
    target = (_connection.get() or (None, path))[1]
    try:
        return await UPSTREAM.request(method, target, forwarded, body)
    except AnswerLost:
        # The emulator dropped its answer on purpose, after the effect: the client must see a reset, not an answer.
        transport = (_connection.get() or (None,))[0]
        if transport is not None:
            transport.abort()
        return internal_error()
    except (OSError, asyncio.TimeoutError, ValueError, EOFError):
        return internal_error()


# --------------------------------------------------------------------------------------------------------------------
# The way to the emulator: HTTP/1.1 with kept-alive connections on asyncio streams, since ministack's environment has no
# asynchronous HTTP client
# --------------------------------------------------------------------------------------------------------------------

class AnswerLost(Exception):
    """The emulator closed the connection after it had the request and before it answered."""


class Upstream:
    def __init__(self, host: str, port: int):
        self.host, self.port = host, port
        self.idle: list = []

    async def _connect(self):
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.wait_for(asyncio.open_connection(self.host, self.port), CONNECT_TIMEOUT_S)

    async def request(self, method: str, target: str, headers: dict, body: bytes):
        """One request; its status, headers and body. It is never sent twice: the emulator may have acted on the first.

        Raises OSError when the emulator cannot be reached and AnswerLost when it closed the connection unanswered.
        """
        reader, writer = await self._connect()
        keep = False
        try:
            lines = [f"{method} {target} HTTP/1.1", f"host: {self.host}:{self.port}", f"content-length: {len(body)}",
                     f"x-polony-secret: {SECRET}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + body)
            try:
                await writer.drain()
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_TIMEOUT_S)
            except (asyncio.IncompleteReadError, ConnectionError) as gone:
                raise AnswerLost() from gone
            status_line, *header_lines = head.decode("latin-1").split("\r\n")
            answer = {}
            for line in header_lines:
                name, _, value = line.partition(":")
                answer[name.strip().lower()] = value.strip()
            content = await reader.readexactly(int(answer.get("content-length", "0")))
            keep = answer.get("connection", "keep-alive").lower() != "close" and len(self.idle) < POOL_SIZE
            passed = {"Content-Type": answer.get("content-type", "application/json")}
            if "x-amzn-errortype" in answer:
                passed["x-amzn-errortype"] = answer["x-amzn-errortype"]
            return int(status_line.split(" ", 2)[1]), passed, content
        finally:
            if keep:
                self.idle.append((reader, writer))
            else:
                writer.close()


UPSTREAM = Upstream(UPSTREAM_HOST, int(UPSTREAM_PORT))


# --------------------------------------------------------------------------------------------------------------------
# Sessions of execution roles
# --------------------------------------------------------------------------------------------------------------------

def trusts_service(role: dict, region: str, source_arn: str, account: str) -> bool:
    """Whether a role's trust policy lets HealthOmics assume it, with the confused-deputy keys aws:SourceArn and aws:SourceAccount."""
    document = role.get("AssumeRolePolicyDocument", "{}")
    try:
        document = json.loads(unquote(document)) if isinstance(document, str) else document
    except ValueError:
        return False
    statements = document.get("Statement", []) if isinstance(document, dict) else []
    context = M.evaluator.EvalContext(
        principal_arn=SERVICE_PRINCIPAL, principal_type="Service", principal_account=account, action="sts:AssumeRole",
        resource_arn=role.get("Arn", "*"), region=region,
        service_context={"aws:sourceaccount": account, "aws:sourcearn": source_arn, "aws:principalisawsservice": "true"})
    allowed = False
    for statement in [statements] if isinstance(statements, dict) else statements:
        def listed(name):
            value = statement.get(name, [])
            return [value] if isinstance(value, str) else value

        if not (listed("Action") or listed("NotAction")):
            continue
        if (M.evaluator._action_matches("sts:AssumeRole", listed("Action"), listed("NotAction"))
                and M.evaluator._service_principal_matches(statement.get("Principal"), SERVICE_PRINCIPAL)
                and M.evaluator._conditions_met(statement.get("Condition", {}), context)):
            if statement.get("Effect") == "Deny":
                return False
            allowed = allowed or statement.get("Effect") == "Allow"
    return allowed


def execution_role_session(request: dict):
    """Mints a session of `roleArn` for a run: `{accountId, region, roleArn, sessionName, sourceArn, durationSeconds?, sessionPolicy?}`."""
    role_arn, account = str(request.get("roleArn", "")), str(request.get("accountId", ""))
    region, source_arn = str(request.get("region", "")), str(request.get("sourceArn", ""))
    match = re.fullmatch(r"arn:aws:iam::(\d{12}):role/(?:.*/)?([^/]+)", role_arn)
    role = M.iam._roles.get_scoped(match[1], None, match[2]) if match else None
    if role is None or role.get("Arn") != role_arn or match[1] != account:
        return 403, {"code": "ROLE_NOT_FOUND", "message": f"The role {role_arn} does not exist."}
    if not trusts_service(role, region, source_arn, account):
        return 403, {"code": "NOT_TRUSTED",
                     "message": f"The trust policy of {role_arn} does not let {SERVICE_PRINCIPAL} assume it."}
    duration = float(request.get("durationSeconds") or 3600)
    session_name = str(request.get("sessionName") or "HealthOmics")
    key, secret, token = M.iam._gen_session_access_key(), M.iam._gen_secret(), M.iam._gen_session_token()
    policy = request.get("sessionPolicy")
    M.sts.register_session(key, {
        "Arn": f"arn:aws:sts::{account}:assumed-role/{match[2]}/{session_name}",
        "UserId": f"{M.sts._role_id(role_arn)}:{session_name}",
        "SecretAccessKey": secret, "SessionToken": token, "Expiration": time.time() + duration, "AccountId": account,
        "PrincipalType": "AssumedRole", "SourceAccessKeyId": None, "SourcePrincipalArn": SERVICE_PRINCIPAL,
        "SessionTags": [], "SessionPolicies": {"Policy": policy, "PolicyArns": []} if policy else None,
    })
    return 200, {"accessKeyId": key, "secretAccessKey": secret, "sessionToken": token,
                 "expiration": time.time() + duration}


async def handle_internal(scope, receive, send) -> None:
    """`/_polony/*`: for the emulator and the stack only."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if not hmac.compare_digest(headers.get("x-polony-secret", "").encode(), SECRET.encode()):
        status, answer = 403, {"code": "FORBIDDEN", "message": "x-polony-secret is missing or wrong"}
    elif scope["method"] == "POST" and scope["path"] == "/_polony/execution-role-session":
        try:
            status, answer = execution_role_session(json.loads(body))
        except (ValueError, TypeError, AttributeError) as bad:
            status, answer = 400, {"code": "BAD_REQUEST", "message": str(bad)}
        if status == 200:
            changed("sts")
    elif scope["method"] == "POST" and scope["path"] == "/_polony/expire-sessions":
        # As if the time of all sessions were over, or somebody had revoked them.
        for session in M.sts._sessions.values():
            if session.get("SourcePrincipalArn") != SERVICE_PRINCIPAL:  # those of HealthOmics itself are not the customer's
                session["Expiration"] = min(session.get("Expiration", 0), time.time() - 1)
        status, answer = 200, {"sessions": len(M.sts._sessions)}
    elif scope["method"] == "GET" and scope["path"] == "/_polony/ready":
        # Says which emulator this process was started for, so that a client can tell it from a stranger on its port.
        status, answer = 200, {"pid": os.getpid(), "upstream": os.environ["OMICS_UPSTREAM"]}
    else:
        status, answer = 404, {"code": "NOT_FOUND", "message": scope["path"]}
    content = json.dumps(answer).encode()
    await send({"type": "http.response.start", "status": status,
                "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]})
    await send({"type": "http.response.body", "body": content})


# --------------------------------------------------------------------------------------------------------------------
# Saving state soon after it changed
# --------------------------------------------------------------------------------------------------------------------

_dirty: set = set()
_saving = None


def changed(service: str) -> None:
    """Has a service's state saved within SAVE_DELAY_S, so that a killed process loses next to nothing."""
    global _saving
    if not M.persistence.PERSIST_STATE:
        return
    _dirty.add(service)
    if _saving is None or _saving.done():
        _saving = asyncio.get_running_loop().create_task(_save())


async def _save() -> None:
    while _dirty:
        await asyncio.sleep(SAVE_DELAY_S)
        services, modules = list(_dirty), {"iam": M.iam, "s3": M.s3, "sts": M.sts}
        _dirty.clear()
        for service in services:
            M.persistence.save_state(service, modules[service].get_state())


def note_changes(method: str, path: str, authorization: str) -> None:
    """Marks what a request may have changed. Objects of S3 are written at once by S3_PERSIST; buckets are not."""
    scope = re.search(r"Credential=[^/]+/[^/]+/[^/]+/([^/]+)/", authorization)
    service = scope[1] if scope else ""
    if service in ("iam", "sts"):
        changed(service)
    elif service == "s3" and method != "GET" and method != "HEAD" and "/" not in path.strip("/"):
        changed("s3")


# --------------------------------------------------------------------------------------------------------------------
# Start
# --------------------------------------------------------------------------------------------------------------------

def anonymous(headers: dict, query: str) -> bool:
    names = {name.lower() for name in parse_qs(query, keep_blank_values=True)}
    return "authorization" not in headers and not names & {"x-amz-algorithm", "x-amz-signature", "awsaccesskeyid"}


def install() -> None:
    """Adds the service and the checks to ministack, before it serves."""
    module = types.ModuleType("ministack.services.omics")
    module.handle_request = handle_request
    module.get_state = lambda: None  # the emulator keeps its own
    sys.modules[module.__name__] = module
    M.app.SERVICE_HANDLERS["omics"] = handle_request
    M.router.SERVICE_PATTERNS["omics"] = {"host_patterns": [r"^(workflows-|analytics-)?omics\."], "credential_scope": "omics"}
    for name in ("iam", "s3", "sts"):
        # Persistence at a clean exit covers loaded modules only.
        M.app._loaded_modules[name] = getattr(M, name)

    # Root keys count as unverified here, so their signature is checked against AWS_SECRET_ACCESS_KEY like any other.
    M.evaluator._is_root_key = lambda access_key_id: not access_key_id

    # ministack asks the policy of another account's bucket as if the account itself called; a policy may name one role or user of it.
    foreign_bucket_allows = M.s3._foreign_bucket_allows
    evaluate_resource_policy = M.evaluator.evaluate_resource_policy

    def allows_as_caller(owner, bucket, key, method, query_params, caller, headers=None):
        arn = M.evaluator.request_caller_arn(headers or {}, query_params) if caller else ""
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

    M.s3._foreign_bucket_allows = allows_as_caller
    M.evaluator.evaluate_resource_policy = evaluate_as_caller

    def sts_state():
        return {"sessions": {key: session for key, session in M.sts._sessions.items()
                             if time.time() < session.get("Expiration", 0)}}

    M.sts.get_state = sts_state
    M.sts.load_persisted_state = lambda data: M.sts._sessions.update(data.get("sessions", {}))

    run = M.tcp_server.TCPServer.run

    async def run_with_connection(self):
        _connection.set((self.writer.transport, ""))
        await run(self)

    M.tcp_server.TCPServer.run = run_with_connection

    inner = M.app.app

    async def app(scope, receive, send):
        if scope["type"] != "http":
            await inner(scope, receive, send)
            return
        path = scope["path"]
        if path.startswith("/_polony/"):
            await handle_internal(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope.get("query_string", b"").decode("latin-1")
        if not path.startswith("/_ministack/") and scope["method"] != "OPTIONS" and anonymous(headers, query):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"application/xml")]})
            await send({"type": "http.response.body", "body": b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>'
                        b"AccessDenied</Code><Message>Access Denied</Message></Error>"})
            return
        if path == "/_ministack/reset" or path.startswith("/_ministack/config"):
            # They would let any local process wipe or reconfigure the account without credentials.
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        raw = (scope.get("raw_path") or path.encode()).decode("latin-1")
        transport = (_connection.get() or (None, ""))[0]
        _connection.set((transport, f"{raw}?{query}" if query else raw))
        await inner(scope, receive, send)
        note_changes(scope["method"], path, headers.get("authorization", ""))

    M.app.app = app


if __name__ == "__main__":
    install()
    M.app.main()
