//! The table of what can be asked: every operation with its parameters, body and answers. The tests
//! of `http` hold it to the router and to what is really answered.

use governance_api::paths;

/// What can be asked of one path with one method.
pub(super) struct Operation {
    pub(super) path: &'static str,
    /// In lower case.
    pub(super) method: &'static str,
    /// Unique; generated clients name functions after it.
    pub(super) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [Parameter],
    /// Schema and example.
    pub(super) body: Option<(&'static str, &'static str)>,
    pub(super) answer: Content,
    /// Statuses beside 200, each a problem.
    pub(super) problems: &'static [u16],
}

/// A parameter, which is a text on the wire.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) about: &'static str,
    pub(super) kind: Kind,
    pub(super) example: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Query,
    RequiredQuery,
    Header,
}

/// What a parameter may be.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// A text that matches an expression.
    Like(&'static str),
    Time,
    /// From, to.
    Whole(u64, u64),
    OneOf(&'static [&'static str]),
    /// Several, with commas between them.
    SomeOf(&'static [&'static str]),
}

/// What is answered with 200.
pub(super) enum Content {
    Json(&'static str),
    JsonList(&'static str),
    /// JSON that has no schema of its own here.
    AnyJson,
    Text(&'static str),
}

const fn query(
    name: &'static str,
    about: &'static str,
    kind: Kind,
    example: &'static str,
) -> Parameter {
    Parameter { name, place: Place::Query, about, kind, example }
}

const STATUSES: &[&str] = &["healthy", "unhealthy", "unknown"];
const ACTIONS: &[&str] =
    &["register", "unregister", "auto_cleanup", "health_status_change", "reconcile", "takeover"];
const RESULTS: &[&str] = &["success", "failure", "denied"];
/// A protocol's token.
pub(super) const PROTOCOL: &str = "^[a-z][a-z0-9+.-]{0,31}$";
/// Names of ASCII in hexadecimal.
const POSITION: &str = "^([2-7][0-9a-f]){1,128}-([2-7][0-9a-f]){1,128}$";
const REVISION_MAX: u64 = 1 << 53;

const SERVICE: Parameter = Parameter {
    name: "service",
    place: Place::Path,
    about: "The service's name.",
    kind: Kind::Text,
    example: "eir",
};
const POD: Parameter = Parameter {
    name: "pod",
    place: Place::Path,
    about: "The pod's name within its service.",
    kind: Kind::Text,
    example: "eir-pod-1",
};
const OF_SERVICE: Parameter = query("service_name", "Of this service.", Kind::Text, "eir");
const OF_POD: Parameter = query("pod_name", "Of pods of this name.", Kind::Text, "eir-pod-1");
const WITH_STATUS: Parameter =
    query("status", "Pods of this status.", Kind::OneOf(STATUSES), "unknown");
const WITH_PROTOCOL: Parameter =
    query("protocol", "Pods with a provider of this protocol.", Kind::Like(PROTOCOL), "http");
const WITH_PROVIDER: Parameter =
    query("provider_id", "Pods with a provider of this id.", Kind::Text, "eir-http");
const LIMIT: Parameter =
    query("limit", "The most pods of a page; all, if absent.", Kind::Whole(1, 10_000), "100");
const CURSOR: Parameter =
    query("cursor", "`next_cursor` of the page before.", Kind::Like(POSITION), "656972-6569722d31");

const fn required(name: &'static str, about: &'static str, example: &'static str) -> Parameter {
    Parameter { name, place: Place::RequiredQuery, about, kind: Kind::Text, example }
}

const REGISTRATION: &str = r#"{
  "service_name": "eir",
  "pod_name": "eir-pod-1",
  "providers": [
    {"protocol": "http", "ip": "192.168.1.30", "port": 8080, "provider_id": "eir-http"},
    {"protocol": "tcp", "ip": "192.168.1.30", "port": 3868}
  ],
  "health_check_url": "http://192.168.1.30:8080/health",
  "notification_url": "http://192.168.1.30:8080/notify",
  "subscriptions": ["diam-gw", {"service_name": "http-gw", "healthy_only": true}]
}"#;

static PODS: [Operation; 3] = [
    Operation {
        path: paths::REGISTER,
        method: "post",
        id: "register",
        tag: "Pods",
        summary: "Registers a pod, or replaces its registration. 200 once the change is durable; \
                  the same again changes nothing.",
        parameters: &[],
        body: Some(("RegisterRequest", REGISTRATION)),
        answer: Content::Json("Registered"),
        problems: &[400, 408, 409, 413, 415, 429, 503, 504],
    },
    Operation {
        path: paths::HEARTBEAT,
        method: "post",
        id: "heartbeat",
        tag: "Pods",
        summary: "Tells a pod whether it is registered; has it checked soon if it is not healthy.",
        parameters: &[
            required("service_name", "The pod's service.", "eir"),
            required("pod_name", "The pod's name.", "eir-pod-1"),
        ],
        body: None,
        answer: Content::Json("Heartbeat"),
        problems: &[400, 404, 503],
    },
    Operation {
        path: paths::UNREGISTER,
        method: "delete",
        id: "unregister",
        tag: "Pods",
        summary: "Removes a pod. An id that is not the current one is 409 and removes nothing.",
        parameters: &[
            required("service_name", "The pod's service.", "eir"),
            required("pod_name", "The pod's name.", "eir-pod-1"),
            query(
                "registration_id",
                "Only if this is its registration.",
                Kind::Whole(0, REVISION_MAX),
                "4294967297",
            ),
            query(
                "instance_id",
                "Only if this is its process.",
                Kind::Like("^[!-~]{1,64}$"),
                "7f3a",
            ),
        ],
        body: None,
        answer: Content::Json("Unregistered"),
        problems: &[400, 404, 409, 503, 504],
    },
];

static READS: [Operation; 5] = [
    Operation {
        path: paths::SERVICES,
        method: "get",
        id: "listServices",
        tag: "Services",
        summary: "All pods, sorted by service and name.",
        parameters: &[OF_SERVICE, WITH_STATUS, WITH_PROTOCOL, WITH_PROVIDER, LIMIT, CURSOR],
        body: None,
        answer: Content::Json("ServiceList"),
        problems: &[400, 503],
    },
    Operation {
        path: paths::SERVICE,
        method: "get",
        id: "getService",
        tag: "Services",
        summary: "The pods of one service; an empty list if nobody registered.",
        parameters: &[SERVICE, WITH_STATUS, WITH_PROTOCOL, WITH_PROVIDER, LIMIT, CURSOR],
        body: None,
        answer: Content::Json("ServicePods"),
        problems: &[400, 503],
    },
    Operation {
        path: paths::POD,
        method: "get",
        id: "getPod",
        tag: "Services",
        summary: "One pod, how its checks went, and what it was told.",
        parameters: &[SERVICE, POD],
        body: None,
        answer: Content::Json("PodDetails"),
        problems: &[404, 503],
    },
    Operation {
        path: paths::SUBSCRIBERS,
        method: "get",
        id: "listSubscribers",
        tag: "Services",
        summary: "Who subscribes to a service, who holds which revision, and who is behind.",
        parameters: &[SERVICE],
        body: None,
        answer: Content::Json("Subscribers"),
        problems: &[503],
    },
    Operation {
        path: paths::WATCH,
        method: "get",
        id: "watch",
        tag: "Services",
        summary: "Server-Sent Events: `snapshot-begin`, pages of `snapshot`, `snapshot-end`, then \
                  every `change` with its revision as id, a `bookmark` every ten seconds, and \
                  `end`. The data of each is JSON: SnapshotBegin, SnapshotPage, SnapshotEnd, \
                  Change, an empty object, StreamEnd.",
        parameters: &[
            OF_SERVICE,
            Parameter {
                name: "Last-Event-ID",
                place: Place::Header,
                about: "The last id seen: the stream continues there if it can.",
                kind: Kind::Text,
                example: "4294967297",
            },
        ],
        body: None,
        answer: Content::Text("text/event-stream"),
        problems: &[400, 503],
    },
];

static AUDIT: [Operation; 2] = [
    Operation {
        path: paths::AUDIT_LOGS,
        method: "get",
        id: "listAuditLogs",
        tag: "Audit",
        summary: "What was done, newest first; read from the store.",
        parameters: &[
            query(
                "start_time",
                "One end of a span (RFC 3339), which belongs to it.",
                Kind::Time,
                "2026-01-02T03:04:05Z",
            ),
            query("end_time", "The other end.", Kind::Time, "2036-01-02T03:04:05Z"),
            query(
                "actions",
                "One of these, or several with commas between them:",
                Kind::SomeOf(ACTIONS),
                "register,unregister",
            ),
            query(
                "results",
                "One of these, or several with commas between them:",
                Kind::SomeOf(RESULTS),
                "success",
            ),
            OF_SERVICE,
            OF_POD,
            query(
                "limit",
                "The most entries of a page; 100, if absent.",
                Kind::Whole(1, 1_000),
                "20",
            ),
            query(
                "offset",
                "Entries to leave out, of those behind `before` if that is given.",
                Kind::Whole(0, 10_000),
                "0",
            ),
            query(
                "before",
                "The page behind this entry: `next_before` of the page before.",
                Kind::Whole(0, u64::MAX),
                "1207",
            ),
        ],
        body: None,
        answer: Content::Json("AuditLogs"),
        problems: &[400, 503],
    },
    Operation {
        path: paths::AUDIT_LOG,
        method: "get",
        id: "getAuditLog",
        tag: "Audit",
        summary: "One entry of the audit.",
        parameters: &[Parameter {
            name: "id",
            place: Place::RequiredQuery,
            about: "The entry's id.",
            kind: Kind::Whole(0, u64::MAX),
            example: "1",
        }],
        body: None,
        answer: Content::Json("AuditLog"),
        problems: &[400, 404, 503],
    },
];

/// An operation without parameters that is answered in every phase.
const fn plain(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    answer: Content,
    problems: &'static [u16],
) -> Operation {
    let (method, tag, parameters, body): (_, _, &[Parameter], _) = ("get", "Operation", &[], None);
    Operation { path, method, id, tag, summary, parameters, body, answer, problems }
}

static OPERATION: [Operation; 9] = [
    plain(
        paths::HEALTH,
        "getHealth",
        "200 while the process lives: its role, epoch and store.",
        Content::Json("Health"),
        &[],
    ),
    plain(
        paths::READY,
        "getReady",
        "200 while reads can be answered; says whether writes can, too.",
        Content::Json("Ready"),
        &[503],
    ),
    plain(paths::VERSION, "getVersion", "Which program it is.", Content::Json("Version"), &[]),
    plain(
        paths::METRICS,
        "getMetrics",
        "How the manager is doing, in Prometheus' text format 0.0.4.",
        Content::Text("text/plain"),
        &[],
    ),
    Operation {
        parameters: &[OF_SERVICE, WITH_PROTOCOL, WITH_STATUS],
        ..plain(
            paths::SD_PROMETHEUS,
            "discoverTargets",
            "Where the pods are, for Prometheus' http_sd_config; http and https, unless `protocol` \
             says otherwise.",
            Content::JsonList("TargetGroup"),
            &[400, 503],
        )
    },
    // 503 on a standby.
    plain(paths::OPENAPI, "getOpenApi", "This document.", Content::AnyJson, &[503]),
    plain(paths::DOCS, "getDocs", "This document for people.", Content::Text("text/html"), &[503]),
    plain(
        paths::LOG_LEVEL,
        "getLogLevel",
        "How much is logged. From the manager's own machine alone, and through no proxy.",
        Content::Json("LogLevel"),
        &[403, 409],
    ),
    Operation {
        method: "put",
        body: Some(("LogLevel", r#"{"level": "info"}"#)),
        ..plain(
            paths::LOG_LEVEL,
            "setLogLevel",
            "Changes how much is logged until the next start. From the manager's own machine alone, \
             and through no proxy.",
            Content::Json("LogLevel"),
            &[400, 403, 408, 409, 413, 415],
        )
    },
];

/// All of them, in the order of the document.
pub(super) fn operations() -> impl Iterator<Item = &'static Operation> {
    PODS.iter().chain(&READS).chain(&AUDIT).chain(&OPERATION)
}
