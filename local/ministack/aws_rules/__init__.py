"""Rules of IAM, STS and S3 that plain ministack does not have.

Without them, calls pass locally that AWS rejects. The sources are the API references of IAM, STS and S3, the IAM User
Guide, and botocore's service models. AWS does not publish the messages of policy errors. Those here come from public
reports of answers of AWS where there are some.

- models.py: required members, lengths, patterns, ranges and enumerations of every request, from botocore's models
- policies.py: the grammar of policies
- matching.py: `${*}`, `${?}` and `${$}`, which are these characters themselves in patterns of policies
- principals.py: principals must exist; a policy shows a deleted one by its unique ID
- iam.py, sts.py, s3.py: what belongs to one service
"""

from typing import Any, Callable

from . import iam, matching, s3, sts
from .principals import Principals

# Private names of ministack that the rules use, with their numbers of parameters where they are functions.
NEEDED_NAMES = (*iam.NEEDED_NAMES, *matching.NEEDED_NAMES, *sts.NEEDED_NAMES, *s3.NEEDED_NAMES)


def install(ministack: Any, allow_short_sessions: bool, save_soon: Callable[[str], None]) -> None:
    """Makes ministack as strict as AWS.

    ``allow_short_sessions`` turns off the lower bound of DurationSeconds, for tests of expiring sessions.
    ``save_soon`` is told which service's state has changed.
    """
    matching.install(ministack)
    principals = Principals(ministack, save_soon)
    iam.install(ministack, principals)
    sts.install(ministack, allow_short_sessions)
    s3.install(ministack, principals)
