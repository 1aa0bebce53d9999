"""Addresses that Label Studio itself resolves, for one task at a time: those in a cloud that its project has a storage
for, such as s3://bucket/key, and Label Studio's own routes to them."""

import re

__all__ = ["CLOUD_SCHEMES", "RESOLVER", "is_read_for_a_task"]

CLOUD_SCHEMES = ("s3", "gs", "azure-blob")  # of the storages that Label Studio reads from
RESOLVER = re.compile(r"/tasks/([0-9]{1,18})/(?:resolve|presign)/")


def is_read_for_a_task(reference: str) -> bool:
    """Whether Label Studio decides for each task whether it may read this. What comes of it is no other task's."""
    scheme, colon, _ = reference.partition("://")
    return bool(colon and scheme.lower() in CLOUD_SCHEMES) or RESOLVER.search(reference) is not None
