"""Files of Protocol Buffers, described and not compiled."""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from pipeline.sources.payloads.schemas import Reference, Schema

KIND = descriptor_pb2.FieldDescriptorProto
TYPES = {
    "double": KIND.TYPE_DOUBLE, "float": KIND.TYPE_FLOAT, "int32": KIND.TYPE_INT32,
    "sint64": KIND.TYPE_SINT64, "uint64": KIND.TYPE_UINT64, "fixed32": KIND.TYPE_FIXED32,
    "bool": KIND.TYPE_BOOL, "string": KIND.TYPE_STRING, "bytes": KIND.TYPE_BYTES,
}  # fmt: skip


def message(into: Any, name: str, **fields: str) -> Any:
    """Add a message; a field's type may be followed by ? (presence) or * (many), or name another message."""
    made = into.add(name=name)
    for i, (field, kind) in enumerate(fields.items(), 1):
        bare = kind.rstrip("?*")
        label = KIND.LABEL_REPEATED if kind.endswith("*") else KIND.LABEL_OPTIONAL
        more: dict[str, Any] = {"type": TYPES[bare]} if bare in TYPES else {"type_name": f".{bare}"}
        one = made.field.add(name=field, number=i, label=label, **more)
        if bare not in TYPES:
            one.type = KIND.TYPE_ENUM if bare.endswith("Kind") else KIND.TYPE_MESSAGE
        if kind.endswith("?"):
            one.proto3_optional, one.oneof_index = True, len(made.oneof_decl)
            made.oneof_decl.add(name=f"_{field}")
    return made


def file(*imports: str, name: str = "plant.proto", package: str = "plant") -> Any:
    return descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3", dependency=imports)


def schema(of: Any, *references: Reference) -> Schema:
    return Schema(base64.b64encode(of.SerializeToString()).decode(), references)


def classes(*files: Any) -> Any:
    """Return what gives a message's class by name."""
    pool = descriptor_pool.DescriptorPool()
    added = set()
    for one in files:
        for known in one.dependency:
            if known.startswith("google/") and known not in added:
                added.add(known)
                pool.AddSerializedFile(descriptor_pool.Default().FindFileByName(known).serialized_pb)
        pool.Add(one)
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
