"""The grammar of policies (IAM User Guide, "Grammar of the IAM JSON policy language"; S3 User Guide, "Policies and
permissions in Amazon S3"). Each function returns what AWS says about the first error, or None."""

import json
import re
from typing import Any, Iterator

PARTITION = "aws"
VERSIONS = ("2008-10-17", "2012-10-17")
# Largest bucket policy, in bytes (S3 User Guide: 20 KB).
BUCKET_POLICY_BYTES = 20 * 1024
DOCUMENT_KEYS = {"Version", "Id", "Statement"}
STATEMENT_KEYS = {
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
}
SYNTAX = "Syntax errors in policy."
CONDITION_OPERATOR = re.compile(
    r"(?:ForAllValues:|ForAnyValue:)?"
    r"(?:String(?:Not)?(?:Equals(?:IgnoreCase)?|Like)|Numeric(?:Not)?(?:Equals|LessThan(?:Equals)?"
    r"|GreaterThan(?:Equals)?)|Date(?:Not)?(?:Equals|LessThan(?:Equals)?|GreaterThan(?:Equals)?)|Bool"
    r"|BinaryEquals|(?:Not)?IpAddress|Arn(?:Not)?(?:Equals|Like))(?:IfExists)?|Null",
    re.IGNORECASE,
)
S3_ACTION = re.compile(r"\*|s3:[A-Za-z0-9*?]+", re.IGNORECASE)
# Keys that only requests to list a bucket have (Service Authorization Reference, Amazon S3).
LISTING_KEYS = {"s3:prefix", "s3:delimiter", "s3:max-keys"}
LISTING_ACTIONS = {"s3:listbucket", "s3:listbucketversions", "s3:listbucketmultipartuploads"}


def listed(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def read_document(text: str) -> dict | None:
    """Returns a policy that is a JSON object. A text that UTF-8 cannot hold is none."""
    try:
        document = json.loads(text)
        json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def statements_of(document: Any) -> list[dict]:
    """Returns the statements of a policy that are objects."""
    found = document.get("Statement", []) if isinstance(document, dict) else []
    return [statement for statement in listed(found) if isinstance(statement, dict)]


def aws_principals(statement: dict) -> Iterator[tuple[dict, str]]:
    """Yields each principal under ``AWS`` with the object that has it."""
    for name in ("Principal", "NotPrincipal"):
        principal = statement.get(name)
        if isinstance(principal, dict) and "AWS" in principal:
            for value in listed(principal["AWS"]):
                if isinstance(value, str):
                    yield principal, value


# --------------------------------------------------------------------------------------------------------------------
# Policies of IAM: of users and roles, of sessions, and of trust
# --------------------------------------------------------------------------------------------------------------------


def identity_policy_error(text: str) -> str | None:
    """Checks the policy of a user, role or session."""
    document = read_document(text)
    if document is None:
        return SYNTAX
    found = document_error(document)
    for statement in statements_of(document):
        found = found or identity_statement_error(statement)
    return found


def identity_statement_error(statement: dict) -> str | None:
    if "Principal" in statement or "NotPrincipal" in statement:
        return "Policy document should not specify a principal."
    if "Action" not in statement and "NotAction" not in statement:
        return "Policy statement must contain actions."
    if "Resource" not in statement and "NotResource" not in statement:
        return "Policy statement must contain resources."
    return statement_error(statement) or resources_error(statement)


def trust_policy_error(text: str) -> str | None:
    """Checks a trust policy. Principals.first_unknown checks whether its principals exist."""
    document = read_document(text)
    if document is None:
        return "This policy contains invalid Json"
    found = document_error(document)
    for statement in statements_of(document):
        found = found or trust_statement_error(statement)
    return found


def trust_statement_error(statement: dict) -> str | None:
    if "Resource" in statement or "NotResource" in statement:
        return "Has prohibited field Resource"
    if "Principal" not in statement:
        return "Missing required field Principal"
    if "Action" not in statement and "NotAction" not in statement:
        return "Missing required field Action"
    actions = [str(action).lower() for action in listed(statement.get("Action", []))]
    if any(not action.startswith("sts:") and action != "*" for action in actions):
        return "AssumeRole policy may only specify STS AssumeRole actions."
    return statement_error(statement)


def document_error(document: dict) -> str | None:
    if not set(document) <= DOCUMENT_KEYS or document.get("Version", VERSIONS[0]) not in VERSIONS:
        return SYNTAX
    statements = document.get("Statement")
    if not isinstance(statements, (list, dict)) or not statements:
        return SYNTAX
    if any(not isinstance(statement, dict) for statement in listed(statements)):
        return SYNTAX
    sids = [statement["Sid"] for statement in listed(statements) if statement.get("Sid")]
    if any(not isinstance(sid, str) or not re.fullmatch(r"[0-9A-Za-z]*", sid) for sid in sids):
        return (
            "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression "
            "[0-9A-Za-z]*"
        )
    if len(set(sids)) < len(sids):
        return "Statement IDs (SID) in a single policy must be unique."
    return None


def statement_error(statement: dict) -> str | None:
    if not set(statement) <= STATEMENT_KEYS or statement.get("Effect") not in ("Allow", "Deny"):
        return SYNTAX
    for one, other in (("Action", "NotAction"), ("Resource", "NotResource"), ("Principal", "NotPrincipal")):
        if one in statement and other in statement:
            return SYNTAX
    for name in ("Action", "NotAction", "Resource", "NotResource"):
        values = listed(statement.get(name, "x"))
        if not values or any(not isinstance(value, str) or value == "" for value in values):
            return SYNTAX
    for action in listed(statement.get("Action", statement.get("NotAction", "*"))):
        if action != "*" and not re.fullmatch(r"[A-Za-z0-9-]+:[A-Za-z0-9*?]+", action):
            return "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
    return condition_error(statement.get("Condition", {}))


def condition_error(condition: Any) -> str | None:
    if not isinstance(condition, dict):
        return SYNTAX
    for operator, keys in condition.items():
        if not CONDITION_OPERATOR.fullmatch(operator):
            return f"Invalid Condition type : {operator}."
        if not isinstance(keys, dict) or not keys:
            return SYNTAX
        for key, values in keys.items():
            if ":" not in key:
                return "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
            if any(not isinstance(value, (str, int, float, bool)) for value in listed(values)):
                return SYNTAX
    return None


def resources_error(statement: dict) -> str | None:
    for resource in listed(statement.get("Resource", statement.get("NotResource", "*"))):
        if resource == "*":
            continue
        parts = resource.split(":", 5)
        if parts[0] != "arn" or len(parts) < 6:
            return f'Resource {resource} must be in ARN format or "*".'
        if parts[1] not in (PARTITION, "*"):
            return f'Partition "{parts[1]}" is not valid for resource "{resource}".'
        if parts[2] == "iam" and parts[3] not in ("", "*"):
            return f"IAM resource {resource} cannot contain region information."
    return None


# --------------------------------------------------------------------------------------------------------------------
# Bucket policies
# --------------------------------------------------------------------------------------------------------------------


def bucket_policy_error(bucket: str, text: str) -> tuple[str, str] | None:
    """Checks the policy of a bucket, except for whether its principals exist. Returns code and message."""
    if len(text.encode()) > BUCKET_POLICY_BYTES:
        return "PolicyTooLarge", "Policy exceeds the maximum allowed document size."
    document = read_document(text)
    if document is None:
        return "MalformedPolicy", "Policies must be valid JSON and the first byte must be '{'"
    found = bucket_document_error(document)
    for statement in statements_of(document):
        found = found or bucket_statement_error(bucket, statement)
    return None if found is None else ("MalformedPolicy", found)


def bucket_document_error(document: dict) -> str | None:
    unknown = set(document) - DOCUMENT_KEYS
    if unknown:
        return f"Unknown field {min(unknown)}"
    if document.get("Version", VERSIONS[0]) not in VERSIONS:
        return "The policy must contain a valid version string"
    statements = document.get("Statement")
    if statements is None:
        return "Missing required field Statement"
    if not isinstance(statements, (list, dict)) or not statements:
        return "Could not parse the policy: Statement is empty!"
    if any(not isinstance(statement, dict) for statement in listed(statements)):
        return "Invalid policy syntax."
    return None


def bucket_statement_error(bucket: str, statement: dict) -> str | None:
    unknown = set(statement) - STATEMENT_KEYS
    if unknown:
        return f"Unknown field {min(unknown)}"
    for name in ("Effect", "Principal", "Action", "Resource"):
        if name not in statement and (name == "Effect" or f"Not{name}" not in statement):
            return f"Missing required field {name}"
    if statement["Effect"] not in ("Allow", "Deny"):
        return f"Invalid effect: {statement['Effect']}"
    actions = listed(statement.get("Action", statement.get("NotAction")))
    if any(not isinstance(action, str) or not S3_ACTION.fullmatch(action) for action in actions):
        return "Policy has invalid action"
    resources = listed(statement.get("Resource", statement.get("NotResource")))
    if any(not isinstance(resource, str) or not is_in_bucket(resource, bucket) for resource in resources):
        return "Policy has invalid resource"
    if condition_error(statement.get("Condition", {})) is not None:
        return "Policy has an invalid condition"
    return applicability_error(bucket, statement)


def is_in_bucket(resource: str, bucket: str) -> bool:
    return re.fullmatch(rf"\*|arn:{PARTITION}:s3:::{re.escape(bucket)}(?:[/*].*)?", resource, re.DOTALL) is not None


def applicability_error(bucket: str, statement: dict) -> str | None:
    """Whether each action has a resource of its kind, and each key of a condition is part of each action's requests."""
    actions = [action for action in listed(statement.get("Action", [])) if not re.search(r"[*?]", action)]
    resources = listed(statement.get("Resource", []))
    kinds = {kind for resource in resources for kind in kinds_of(resource, bucket)}
    for action in actions:
        kind = kind_of(action)
        if resources and kind is not None and kind not in kinds:
            return "Action does not apply to any resource(s) in statement"
    keys = {key.lower() for operator in statement.get("Condition", {}).values() for key in operator}
    if keys & LISTING_KEYS and any(action.lower() not in LISTING_ACTIONS for action in actions):
        return "Conditions do not apply to combination of actions and resources in statement"
    return None


def kinds_of(resource: str, bucket: str) -> set[str]:
    rest = "*" if resource == "*" else resource.split(":::", 1)[1][len(bucket) :]
    if rest == "":
        return {"bucket"}
    return {"object"} if rest.startswith("/") else {"bucket", "object"}


def kind_of(action: str) -> str | None:
    name = action.split(":", 1)[1].lower()
    if "bucket" in name:
        return "bucket"
    return "object" if "object" in name or name in ("abortmultipartupload", "listmultipartuploadparts") else None
