"""Where a stream's records come from: `source` in its YAML, told apart by `type`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from pipeline.config.credentials import named_secret
from pipeline.config.scalars import Duration, Lookback, Reference, SecretText, SourceColumn, Strict, at

DELIMITER = r"""^[^\w"'.+\-\r\n]$"""


def _inside(pattern: str) -> str:
    if pattern.startswith(("/", "~")) or ".." in re.split(r"[/\\]", pattern):
        raise ValueError("expected a glob that stays below `path`, such as **/*.csv")
    return pattern


def _pattern(topic: str) -> str:
    if topic.startswith("^"):
        try:
            re.compile(topic)
        except re.error as error:
            raise ValueError(f"expected a topic, or a regular expression after ^: {error}") from None
    return topic


BUCKET = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9])(?:/(?P<prefix>[^?#@]*))?")
"""An address of objects; what else an URL may hold (a user, a query) is said by keys of its own."""


def check_place(path: str) -> str:
    """Return `path` when it is a folder or `s3://bucket/prefix`."""
    if "://" in path and "${" not in path and not BUCKET.fullmatch(path):  # else it is looked at when opened
        raise ValueError("expected a folder, or objects at s3://bucket/prefix")
    return path


class S3(Strict):
    """How the objects at `s3://…` are reached; what is left out is as AWS's environment variables say."""

    endpoint: Annotated[str, Reference("address")] = ""
    """Address of a store that is not Amazon's: `https://minio.plant:9000`; `${env:NAME}` is allowed."""
    region: str = Field(default="", max_length=64)
    """Region of the bucket: `eu-central-1`."""
    access_key: SecretText | None = None
    """By reference: `${env:NAME}`, or `${connection:NAME:login}`."""
    secret_key: SecretText | None = None
    """By reference: `${env:NAME}`, or `${connection:NAME:password}`."""
    session_token: SecretText | None = None
    """Of temporary credentials, by reference."""
    anonymous: bool = False
    """Read a public bucket without credentials."""
    authority: str = ""
    """File with the certificate authorities to trust; those of the system when left out."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.access_key is None) != (self.secret_key is None):
            missing, given = ("access_key", "secret_key") if self.secret_key else ("secret_key", "access_key")
            raise at(missing, problem=f"{given} needs a {missing} beside it")
        if self.session_token and not self.access_key:
            raise at("session_token", problem="session_token needs access_key and secret_key beside it")
        if self.anonymous and self.access_key:
            raise at("anonymous", problem="with an access_key a read is not anonymous; leave one of them out")
        return self


class FilesSource(Strict):
    """A folder that grows, on this machine or in an object store."""

    type: Literal["files"] = "files"
    """`files`"""
    path: Annotated[str, Reference("path"), AfterValidator(check_place)] = Field(min_length=1)
    """Folder, absolute or relative to the project folder, or `s3://bucket/prefix`; may hold `${env:NAME}`."""
    s3: S3 = S3()
    pattern: Annotated[str, AfterValidator(_inside)] = Field(default="**/*", min_length=1)
    """Glob below `path`."""
    format: Literal["auto", "csv", "jsonl", "parquet"] = "auto"
    """`auto` goes by the file's name; `.gz` may follow `.csv` and `.jsonl`."""
    delimiter: str = Field(default=",", pattern=DELIMITER)
    """Between the fields of a CSV line."""
    settle: Duration = timedelta(seconds=10)
    """A last line without a newline is taken once the file has been left alone this long."""

    @model_validator(mode="after")
    def _reached(self) -> Self:
        if self.s3 != S3() and not self.path.startswith(("s3://", "${")):
            raise at("s3", problem="`path` is a folder of this machine; expected s3://bucket/prefix")
        return self


class SqlSource(Strict):
    """A table or view of a database that only gets new rows: PostgreSQL, MySQL, SQLite."""

    type: Literal["sql"]
    """`sql`"""
    url: Annotated[str, Reference("database")] = Field(min_length=1)
    """SQLAlchemy URL; by reference, `${env:NAME}` or `${connection:NAME}`, where a password is in it."""
    table: str = Field(min_length=1, max_length=256, pattern=r'^[^.\s"`;]+(\.[^.\s"`;]+)?$')
    """Table or view, or `schema.table`."""
    cursor: SourceColumn
    """Column that grows with every row: a serial number, or the time a row was written. Rows without are not
    read; an index on it keeps reading fast."""
    lookback: Lookback = 0
    """How far behind the newest row others may still appear, because their transactions took longer: a number
    of serial numbers, or a duration where `cursor` is a time."""


class SchemaRegistry(Strict):
    """A schema registry: Confluent's, or one that speaks its protocol."""

    url: Annotated[str, Reference("address")] = Field(min_length=1)
    """`https://host:port`; several, with commas between, are tried in turn."""
    user: SecretText | None = None
    """By reference: `${env:NAME}`."""
    password: SecretText | None = None
    """By reference: `${env:NAME}`."""
    authority: str = ""
    """File with the certificate authorities to trust; the well-known ones when left out."""

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.user is None) != (self.password is None):
            missing, there = ("user", "password") if self.user is None else ("password", "user")
            raise at(missing, problem=f"{there} without {missing}: a registry asks for both or neither")
        return self


class KafkaSource(Strict):
    """Topics of Kafka, or of what speaks its protocol; a record a message."""

    type: Literal["kafka"]
    """`kafka`"""
    servers: Annotated[str, Reference("path")] = Field(min_length=1)
    """Brokers to begin with, `host:port` with commas between; `${env:NAME}` is allowed."""
    topics: tuple[Annotated[str, AfterValidator(_pattern), Field(min_length=1, max_length=249)], ...] = Field(
        min_length=1
    )
    """Topics; one that begins with ^ is a regular expression, and takes topics that come later too."""
    group: str = Field(default="", max_length=255)
    """Consumer group under which the broker is told how far was read, for people who watch lag there;
    `offbeat.<stream>` when left out. Where to read on from is the store's to say."""
    start: Literal["earliest", "latest"] = "earliest"
    """Where to begin in a partition that was never read."""
    format: Literal["json", "avro", "protobuf"] = "json"
    """What a message holds: a JSON object, or a record whose schema is in the registry."""
    registry: SchemaRegistry | None = None
    """Where the schemas of `avro` and `protobuf` are."""
    options: dict[str, str] = Field(default_factory=dict)
    """More settings, by librdkafka's own names: `security.protocol: SASL_SSL`, `sasl.mechanism: PLAIN`."""
    secrets: dict[str, SecretText] = Field(default_factory=dict)
    """The secret ones, by reference: `sasl.password: ${env:NAME}`."""

    @model_validator(mode="after")
    def _ours(self) -> Self:
        for part in ("options", "secrets"):
            for name in getattr(self, part):
                if name in KAFKA_OURS:
                    raise at(part, name, problem=f"{name} is Offbeat's to set: {KAFKA_OURS[name]}")
        for name in self.options:
            if named_secret(name) and not name.endswith(("location", "mechanism", "mechanisms")):
                problem = f"{name} is a secret, and belongs in `secrets`, by reference"
                raise at("options", name, problem=problem)
        return self

    @model_validator(mode="after")
    def _schemas(self) -> Self:
        if (self.format == "json") != (self.registry is None):
            problem = (
                f"format {self.format} needs a registry, where its schemas are: `registry: {{url: …}}`"
                if self.registry is None
                else "format json has no schemas: say `format: avro` or `protobuf`, or leave registry out"
            )
            raise at("registry", problem=problem)
        return self


KAFKA_OURS = {
    "bootstrap.servers": "say it in `servers`",
    "group.id": "say it in `group`",
    "enable.auto.commit": "the store remembers how far was read",
    "enable.auto.offset.store": "the store remembers how far was read",
    "auto.offset.reset": "say it in `start`",
    "enable.partition.eof": "a read ends where the topics do",
}
"""Settings of librdkafka that a stream must not change, and why."""


def _filter(topic: str) -> str:
    levels = topic.split("/")
    rest = levels[2:] if levels[0] == "$share" else levels
    if not all(rest) or any(len(level) > 1 and set(level) & {"+", "#"} for level in rest) or "#" in rest[:-1]:
        raise ValueError(
            "expected a topic filter such as plant/+/readings, plant/# or $share/offbeat/plant/#"
        )
    return topic


class MqttSource(Strict):
    """Topics of an MQTT broker; what they hold is said by `format`."""

    type: Literal["mqtt"]
    """`mqtt`"""
    url: Annotated[str, Reference("path")] = Field(min_length=1)
    """`mqtt://host:port`, or `mqtts://host:port` for TLS; `${env:NAME}` is allowed."""
    topics: tuple[Annotated[str, AfterValidator(_filter)], ...] = Field(min_length=1)
    """Topic filters: `plant/+/readings`; `$share/group/plant/#` divides messages among those of one group."""
    format: Literal["json", "csv", "sparkplug"] = "json"
    """What a message holds: a JSON object; `csv`, one line or many; `sparkplug`, metrics of Sparkplug B."""
    columns: tuple[SourceColumn, ...] = ()
    """`csv`: the columns of a line, in order; when left out, a header line begins each message."""
    delimiter: str = Field(default=",", pattern=DELIMITER)
    """`csv`: between the fields of a line."""
    version: Literal["3.1.1", "5"] = "5"
    """Of the protocol."""
    session: str = Field(default="", max_length=64)
    """Client id, under which the broker keeps what was not stored yet; `offbeat-<stream>` when left out."""
    user: SecretText | None = None
    """By reference: `${env:NAME}`."""
    password: SecretText | None = None
    """By reference: `${env:NAME}`."""
    authority: str = ""
    """File with the certificate authorities to trust; those of the system when left out."""
    certificate: str = ""
    """File with our own certificate, where the broker asks for one."""
    key: str = ""
    """File with its key, where that is not in the same file."""

    @model_validator(mode="after")
    def _lines(self) -> Self:
        for name in ("columns", "delimiter"):
            if self.format != "csv" and getattr(self, name) != type(self).model_fields[name].default:
                raise at(name, problem=f"{name} is of format csv, and format is {self.format}")
        if twice := next((c for i, c in enumerate(self.columns) if c in self.columns[:i]), None):
            raise at("columns", problem=f"column {twice} is named twice")
        return self


class HttpSource(Strict):
    """What others post to `offbeat receive`: JSON objects, one or many."""

    type: Literal["http"]
    """`http`"""
    token: SecretText | None = None
    """What a sender has to show (`Authorization: Bearer …`), by reference: `${env:NAME}`."""
    secret: SecretText | None = None
    """`whsec_…`, by reference: with it, senders sign as Standard Webhooks says, and show no token."""
    folder: Annotated[str, Reference("path")] = ""
    """Where what was received waits to be ingested; `received/<stream>` in the project when left out."""
    body: int = Field(default=1_048_576, ge=1024, le=268_435_456)
    """Bytes of one request, unpacked, at most."""
    rate: int = Field(default=200, ge=1, le=100_000)
    """Requests a second at most; more are asked to come again (429)."""
    waiting: int = Field(default=1_073_741_824, ge=1_048_576)
    """Bytes that may wait to be ingested; then senders are asked to come again later (429)."""

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if (self.token is None) == (self.secret is None):
            problem = "one of token and secret is needed, and not both: else anybody may send"
            raise at("token", problem=problem)
        return self


Source = Annotated[
    FilesSource | SqlSource | KafkaSource | MqttSource | HttpSource, Field(discriminator="type")
]
