from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    D_TYPE_UNSPECIFIED: _ClassVar[DType]
    D_TYPE_FLOAT32: _ClassVar[DType]
    D_TYPE_FLOAT16: _ClassVar[DType]
    D_TYPE_INT8: _ClassVar[DType]
    D_TYPE_UINT8: _ClassVar[DType]

class Metric(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METRIC_UNSPECIFIED: _ClassVar[Metric]
    METRIC_L2: _ClassVar[Metric]
    METRIC_IP: _ClassVar[Metric]
    METRIC_COSINE: _ClassVar[Metric]

class StopReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STOP_REASON_UNSPECIFIED: _ClassVar[StopReason]
    STOP_REASON_CONVERGED: _ClassVar[StopReason]
    STOP_REASON_MAX_PAGE_READS: _ClassVar[StopReason]
    STOP_REASON_DEADLINE: _ClassVar[StopReason]
    STOP_REASON_EXHAUSTED: _ClassVar[StopReason]
D_TYPE_UNSPECIFIED: DType
D_TYPE_FLOAT32: DType
D_TYPE_FLOAT16: DType
D_TYPE_INT8: DType
D_TYPE_UINT8: DType
METRIC_UNSPECIFIED: Metric
METRIC_L2: Metric
METRIC_IP: Metric
METRIC_COSINE: Metric
STOP_REASON_UNSPECIFIED: StopReason
STOP_REASON_CONVERGED: StopReason
STOP_REASON_MAX_PAGE_READS: StopReason
STOP_REASON_DEADLINE: StopReason
STOP_REASON_EXHAUSTED: StopReason

class Vectors(_message.Message):
    __slots__ = ("data", "dtype", "rows", "dim")
    DATA_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    dtype: DType
    rows: int
    dim: int
    def __init__(self, data: _Optional[bytes] = ..., dtype: _Optional[_Union[DType, str]] = ..., rows: _Optional[int] = ..., dim: _Optional[int] = ...) -> None: ...

class Int64Ids(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Optional[_Iterable[int]] = ...) -> None: ...

class StringIds(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("index", "queries", "k", "recall", "effort", "exact", "radius", "deadline_seconds", "max_page_reads", "stats")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    EFFORT_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    RADIUS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_PAGE_READS_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    index: str
    queries: Vectors
    k: int
    recall: float
    effort: int
    exact: bool
    radius: float
    deadline_seconds: float
    max_page_reads: int
    stats: bool
    def __init__(self, index: _Optional[str] = ..., queries: _Optional[_Union[Vectors, _Mapping]] = ..., k: _Optional[int] = ..., recall: _Optional[float] = ..., effort: _Optional[int] = ..., exact: bool = ..., radius: _Optional[float] = ..., deadline_seconds: _Optional[float] = ..., max_page_reads: _Optional[int] = ..., stats: bool = ...) -> None: ...

class QueryStats(_message.Message):
    __slots__ = ("reads", "kib", "units", "hops", "codes_scored", "pinned_hits", "route_us", "scan_us", "read_us", "total_us", "effort", "stopped", "warnings", "shared_reads")
    READS_FIELD_NUMBER: _ClassVar[int]
    KIB_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    HOPS_FIELD_NUMBER: _ClassVar[int]
    CODES_SCORED_FIELD_NUMBER: _ClassVar[int]
    PINNED_HITS_FIELD_NUMBER: _ClassVar[int]
    ROUTE_US_FIELD_NUMBER: _ClassVar[int]
    SCAN_US_FIELD_NUMBER: _ClassVar[int]
    READ_US_FIELD_NUMBER: _ClassVar[int]
    TOTAL_US_FIELD_NUMBER: _ClassVar[int]
    EFFORT_FIELD_NUMBER: _ClassVar[int]
    STOPPED_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    SHARED_READS_FIELD_NUMBER: _ClassVar[int]
    reads: _containers.RepeatedScalarFieldContainer[float]
    kib: _containers.RepeatedScalarFieldContainer[float]
    units: _containers.RepeatedScalarFieldContainer[float]
    hops: _containers.RepeatedScalarFieldContainer[int]
    codes_scored: _containers.RepeatedScalarFieldContainer[int]
    pinned_hits: _containers.RepeatedScalarFieldContainer[int]
    route_us: _containers.RepeatedScalarFieldContainer[float]
    scan_us: _containers.RepeatedScalarFieldContainer[float]
    read_us: _containers.RepeatedScalarFieldContainer[float]
    total_us: _containers.RepeatedScalarFieldContainer[float]
    effort: _containers.RepeatedScalarFieldContainer[int]
    stopped: _containers.RepeatedScalarFieldContainer[StopReason]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    shared_reads: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, reads: _Optional[_Iterable[float]] = ..., kib: _Optional[_Iterable[float]] = ..., units: _Optional[_Iterable[float]] = ..., hops: _Optional[_Iterable[int]] = ..., codes_scored: _Optional[_Iterable[int]] = ..., pinned_hits: _Optional[_Iterable[int]] = ..., route_us: _Optional[_Iterable[float]] = ..., scan_us: _Optional[_Iterable[float]] = ..., read_us: _Optional[_Iterable[float]] = ..., total_us: _Optional[_Iterable[float]] = ..., effort: _Optional[_Iterable[int]] = ..., stopped: _Optional[_Iterable[_Union[StopReason, str]]] = ..., warnings: _Optional[_Iterable[str]] = ..., shared_reads: _Optional[_Iterable[int]] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("counts", "int64_ids", "string_ids", "distances", "incomplete", "warnings", "stats")
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    INT64_IDS_FIELD_NUMBER: _ClassVar[int]
    STRING_IDS_FIELD_NUMBER: _ClassVar[int]
    DISTANCES_FIELD_NUMBER: _ClassVar[int]
    INCOMPLETE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedScalarFieldContainer[int]
    int64_ids: Int64Ids
    string_ids: StringIds
    distances: bytes
    incomplete: _containers.RepeatedScalarFieldContainer[int]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    stats: QueryStats
    def __init__(self, counts: _Optional[_Iterable[int]] = ..., int64_ids: _Optional[_Union[Int64Ids, _Mapping]] = ..., string_ids: _Optional[_Union[StringIds, _Mapping]] = ..., distances: _Optional[bytes] = ..., incomplete: _Optional[_Iterable[int]] = ..., warnings: _Optional[_Iterable[str]] = ..., stats: _Optional[_Union[QueryStats, _Mapping]] = ...) -> None: ...

class SearchStreamRequest(_message.Message):
    __slots__ = ("tag", "request")
    TAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    tag: int
    request: SearchRequest
    def __init__(self, tag: _Optional[int] = ..., request: _Optional[_Union[SearchRequest, _Mapping]] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("code", "message", "reason")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    reason: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class SearchStreamResponse(_message.Message):
    __slots__ = ("tag", "response", "error")
    TAG_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    tag: int
    response: SearchResponse
    error: Status
    def __init__(self, tag: _Optional[int] = ..., response: _Optional[_Union[SearchResponse, _Mapping]] = ..., error: _Optional[_Union[Status, _Mapping]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("index", "int64_ids", "string_ids")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    INT64_IDS_FIELD_NUMBER: _ClassVar[int]
    STRING_IDS_FIELD_NUMBER: _ClassVar[int]
    index: str
    int64_ids: Int64Ids
    string_ids: StringIds
    def __init__(self, index: _Optional[str] = ..., int64_ids: _Optional[_Union[Int64Ids, _Mapping]] = ..., string_ids: _Optional[_Union[StringIds, _Mapping]] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("vectors",)
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    vectors: Vectors
    def __init__(self, vectors: _Optional[_Union[Vectors, _Mapping]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("index", "query", "k", "recall", "effort", "with_truth", "max_page_reads")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    EFFORT_FIELD_NUMBER: _ClassVar[int]
    WITH_TRUTH_FIELD_NUMBER: _ClassVar[int]
    MAX_PAGE_READS_FIELD_NUMBER: _ClassVar[int]
    index: str
    query: Vectors
    k: int
    recall: float
    effort: int
    with_truth: bool
    max_page_reads: int
    def __init__(self, index: _Optional[str] = ..., query: _Optional[_Union[Vectors, _Mapping]] = ..., k: _Optional[int] = ..., recall: _Optional[float] = ..., effort: _Optional[int] = ..., with_truth: bool = ..., max_page_reads: _Optional[int] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("json", "text", "svg")
    JSON_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SVG_FIELD_NUMBER: _ClassVar[int]
    json: str
    text: str
    svg: str
    def __init__(self, json: _Optional[str] = ..., text: _Optional[str] = ..., svg: _Optional[str] = ...) -> None: ...

class LedgerItem(_message.Message):
    __slots__ = ("name", "bytes", "note")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    name: str
    bytes: int
    note: str
    def __init__(self, name: _Optional[str] = ..., bytes: _Optional[int] = ..., note: _Optional[str] = ...) -> None: ...

class Ledger(_message.Message):
    __slots__ = ("items", "budget_bytes", "total_bytes")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[LedgerItem]
    budget_bytes: int
    total_bytes: int
    def __init__(self, items: _Optional[_Iterable[_Union[LedgerItem, _Mapping]]] = ..., budget_bytes: _Optional[int] = ..., total_bytes: _Optional[int] = ...) -> None: ...

class IndexInfo(_message.Message):
    __slots__ = ("name", "rows", "dim", "dtype", "metric", "version", "string_ids", "ledger", "description_json", "draining_ledger", "serving")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STRING_IDS_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_JSON_FIELD_NUMBER: _ClassVar[int]
    DRAINING_LEDGER_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    name: str
    rows: int
    dim: int
    dtype: DType
    metric: Metric
    version: str
    string_ids: bool
    ledger: Ledger
    description_json: str
    draining_ledger: Ledger
    serving: bool
    def __init__(self, name: _Optional[str] = ..., rows: _Optional[int] = ..., dim: _Optional[int] = ..., dtype: _Optional[_Union[DType, str]] = ..., metric: _Optional[_Union[Metric, str]] = ..., version: _Optional[str] = ..., string_ids: bool = ..., ledger: _Optional[_Union[Ledger, _Mapping]] = ..., description_json: _Optional[str] = ..., draining_ledger: _Optional[_Union[Ledger, _Mapping]] = ..., serving: bool = ...) -> None: ...

class GetIndexRequest(_message.Message):
    __slots__ = ("index",)
    INDEX_FIELD_NUMBER: _ClassVar[int]
    index: str
    def __init__(self, index: _Optional[str] = ...) -> None: ...

class GetIndexResponse(_message.Message):
    __slots__ = ("index",)
    INDEX_FIELD_NUMBER: _ClassVar[int]
    index: IndexInfo
    def __init__(self, index: _Optional[_Union[IndexInfo, _Mapping]] = ...) -> None: ...

class ListIndexesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListIndexesResponse(_message.Message):
    __slots__ = ("indexes",)
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    indexes: _containers.RepeatedCompositeFieldContainer[IndexInfo]
    def __init__(self, indexes: _Optional[_Iterable[_Union[IndexInfo, _Mapping]]] = ...) -> None: ...

class ReloadRequest(_message.Message):
    __slots__ = ("index",)
    INDEX_FIELD_NUMBER: _ClassVar[int]
    index: str
    def __init__(self, index: _Optional[str] = ...) -> None: ...

class ReloadResponse(_message.Message):
    __slots__ = ("index", "changed")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    index: IndexInfo
    changed: bool
    def __init__(self, index: _Optional[_Union[IndexInfo, _Mapping]] = ..., changed: bool = ...) -> None: ...
