"""Rules of S3 (S3 API Reference; S3 User Guide)."""

import base64
import re
from typing import Any, Callable
from urllib.parse import unquote
from xml.etree import ElementTree

from .policies import bucket_policy_error
from .principals import Principals

NEEDED_NAMES = (
    ("s3", "_bucket_policies", None),
    ("s3", "_dispatch", 6),
    ("s3", "_error", 6),
    ("s3", "_multipart_uploads", None),
    ("s3", "_put_bucket_policy", 2),
)
# Bytes of UTF-8 (S3 User Guide, "Naming Amazon S3 objects").
KEY_BYTES = 1024
KEYS_PER_PAGE = 1000
# Every part of a multipart upload but the last (S3 User Guide, "Amazon S3 multipart upload limits").
SMALLEST_PART_BYTES = 5 * 1024 * 1024
MALFORMED_XML = "The XML you provided was not well-formed or did not validate against our published schema"
COPY_TO_ITSELF = (
    "This copy request is illegal because it is trying to copy an object to itself without changing the object's "
    "metadata, storage class, website redirect location or encryption attributes."
)
# Headers of CopyObject that change the object.
CHANGING_HEADERS = ("x-amz-storage-class", "x-amz-website-redirect-location", "x-amz-server-side-encryption")


def install(ministack: Any, principals: Principals) -> None:
    rules = S3Rules(ministack, principals)
    dispatch = ministack.s3._dispatch
    ministack.s3._put_bucket_policy = rules.guard_policy(ministack.s3._put_bucket_policy)

    def dispatch_if_allowed(
        method: str, bucket: str, key: str, headers: dict, body: bytes, query_params: dict
    ) -> tuple:
        refused = rules.check(method, bucket, key, headers, body, query_params)
        return refused or dispatch(method, bucket, key, headers, body, query_params)

    ministack.s3._dispatch = dispatch_if_allowed


class S3Rules:
    def __init__(self, ministack: Any, principals: Principals):
        self._s3 = ministack.s3
        self._principals = principals

    def guard_policy(self, put: Callable[[str, bytes], tuple]) -> Callable[[str, bytes], tuple]:
        def put_if_valid(bucket: str, body: bytes) -> tuple:
            if bucket not in self._s3._buckets:
                return put(bucket, body)
            text = body.decode("utf-8", "replace")
            found = bucket_policy_error(bucket, text)
            if found is not None:
                return self._error(*found)
            unknown = self._principals.first_unknown(text)
            if unknown is not None:
                detail = f'"{unknown[0]}" : "{unknown[1]}"'
                return self._error("MalformedPolicy", "Invalid principal in policy", Detail=detail)
            return put(bucket, self._principals.with_arns(text).encode())

        return put_if_valid

    def check(self, method: str, bucket: str, key: str, headers: dict, body: bytes, query_params: dict) -> tuple | None:
        """Returns the answer to a request that S3 rejects."""
        size = len(key.encode("utf-8", "replace"))
        if size > KEY_BYTES:
            return self._error("KeyTooLongError", "Your key is too long", Size=str(size), MaxSizeAllowed=str(KEY_BYTES))
        if method == "GET" and bucket and not key and "list-type" in query_params:
            return self._check_listing(query_params)
        if method == "POST" and key and "uploadId" in query_params:
            return self._check_parts(body, value_of(query_params, "uploadId"))
        if method == "PUT" and key and "x-amz-copy-source" in headers and "partNumber" not in query_params:
            return self._check_copy(bucket, key, headers)
        return None

    def _check_listing(self, query_params: dict) -> tuple | None:
        wanted = value_of(query_params, "max-keys", str(KEYS_PER_PAGE))
        if not re.fullmatch(r"\d{1,10}", wanted) or int(wanted) > 2**31 - 1:
            message = "Argument maxKeys must be an integer between 0 and 2147483647"
            return self._error("InvalidArgument", message, ArgumentName="maxKeys", ArgumentValue=wanted)
        if int(wanted) > KEYS_PER_PAGE:
            query_params["max-keys"] = [str(KEYS_PER_PAGE)]
        if "continuation-token" in query_params and not is_token(value_of(query_params, "continuation-token")):
            message = "The continuation token provided is incorrect"
            return self._error("InvalidArgument", message, ArgumentName="continuation-token")
        return None

    def _check_parts(self, body: bytes, upload_id: str) -> tuple | None:
        upload = self._s3._multipart_uploads.get(upload_id)
        if upload is None:
            return None  # It does not exist, or it is complete and ministack repeats its answer.
        parts = read_parts(body)
        if not parts:
            return self._error("MalformedXML", MALFORMED_XML)
        numbers = [number for number, _ in parts]
        if numbers != sorted(set(numbers)):
            message = "The list of parts was not in ascending order. Parts must be ordered by part number."
            return self._error("InvalidPartOrder", message)
        stored = [upload["parts"].get(number) for number in numbers]
        for (_, etag), part in zip(parts, stored):
            if part is None or etag.strip('"') != part["etag"].strip('"'):
                message = (
                    "One or more of the specified parts could not be found. The part may not have been uploaded, or "
                    "the specified entity tag may not match the part's entity tag."
                )
                return self._error("InvalidPart", message)
        if any(len(part["body"]) < SMALLEST_PART_BYTES for part in stored[:-1]):
            message = "Your proposed upload is smaller than the minimum allowed size"
            return self._error("EntityTooSmall", message, MinSizeAllowed=str(SMALLEST_PART_BYTES))
        return None

    def _check_copy(self, bucket: str, key: str, headers: dict) -> tuple | None:
        source = unquote(headers["x-amz-copy-source"].partition("?")[0]).lstrip("/")
        changes = headers.get("x-amz-metadata-directive", "COPY").upper() == "REPLACE"
        if source != f"{bucket}/{key}" or changes or any(name in headers for name in CHANGING_HEADERS):
            return None
        return self._error("InvalidRequest", COPY_TO_ITSELF)

    def _error(self, code: str, message: str, **details: str) -> tuple:
        return self._s3._error(code, message, 400, extra=details)


def value_of(query_params: dict, name: str, default: str = "") -> str:
    value = query_params.get(name, default)
    return value[0] if isinstance(value, list) else value


def is_token(text: str) -> bool:
    """Whether ministack has made this token: the Base64 of a key."""
    try:
        key = base64.b64decode(text, validate=True)
        return text != "" and base64.b64encode(key).decode() == text and key.decode() != ""
    except ValueError:
        return False


def read_parts(body: bytes) -> list[tuple[int, str]]:
    """Returns number and ETag of the parts in a request to complete an upload; an empty list if it is malformed."""
    try:
        root = ElementTree.fromstring(body)
        parts = [element for element in root.iter() if local_name(element) == "Part"]
        fields = [{local_name(child): child.text or "" for child in part} for part in parts]
        return [(int(each["PartNumber"]), each["ETag"]) for each in fields]
    except (ElementTree.ParseError, KeyError, ValueError):
        return []


def local_name(element: ElementTree.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]
