"""Uploads or downloads a folder with the CRT client of s3transfer, as the AWS CLI v2 does with it.

Arguments: upload or download, folder, bucket, prefix, endpoint. Credentials and AWS_CA_BUNDLE come from the environment.
"""

import os
import sys

import botocore.session
from s3transfer.crt import (
    BotocoreCRTCredentialsWrapper,
    BotocoreCRTRequestSerializer,
    CRTTransferManager,
    create_s3_crt_client,
)

what, folder, bucket, prefix, endpoint = sys.argv[1:]
session = botocore.session.get_session()
credentials = BotocoreCRTCredentialsWrapper(session.get_credentials())
client = create_s3_crt_client(
    region="us-west-2",
    crt_credentials_provider=credentials.to_crt_credentials_provider(),
    use_ssl=endpoint.startswith("https:"),
    verify=os.environ.get("AWS_CA_BUNDLE"),
)
serializer = BotocoreCRTRequestSerializer(session, {"region_name": "us-west-2", "endpoint_url": endpoint})
with CRTTransferManager(client, serializer) as manager:
    futures = []
    if what == "upload":
        for parent, _, names in os.walk(folder):
            for name in names:
                file = os.path.join(parent, name)
                key = prefix + os.path.relpath(file, folder).replace(os.sep, "/")
                futures.append(manager.upload(file, bucket, key))
    else:
        s3 = session.create_client("s3", region_name="us-west-2", endpoint_url=endpoint)
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for each in page.get("Contents", []):
                file = os.path.join(folder, each["Key"][len(prefix) :])
                os.makedirs(os.path.dirname(file), exist_ok=True)
                futures.append(manager.download(bucket, each["Key"], file))
    for future in futures:
        future.result()
