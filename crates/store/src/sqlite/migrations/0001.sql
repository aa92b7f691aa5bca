-- The documented table. Its names and order are part of the product.
-- No index but the key's: the registry is served from memory, so an index would be paid for by
-- every registration and read by nobody but a person at a shell, who can wait for a scan.
CREATE TABLE IF NOT EXISTS services (
    service_key       VARCHAR(255) PRIMARY KEY NOT NULL,
    service_name      VARCHAR(128) NOT NULL,
    pod_name          VARCHAR(128) NOT NULL,
    providers         TEXT NOT NULL,
    health_check_url  VARCHAR(512) NOT NULL,
    notification_url  VARCHAR(512) NOT NULL,
    subscriptions     TEXT NOT NULL,
    status            VARCHAR(20) NOT NULL,
    last_health_check TEXT NOT NULL,
    registered_at     TEXT NOT NULL,
    updated_at        TEXT NOT NULL
);

-- What is ours beside it: a log, so that a registration appends here and touches no page of its
-- own. The row with the greatest id speaks for its service_key; if its `deleted` is set it is a
-- tombstone. Rows that were superseded are deleted later, many at once.
CREATE TABLE IF NOT EXISTS governance_pods (
    id              INTEGER PRIMARY KEY,
    service_key     VARCHAR(255) NOT NULL,
    registration_id INTEGER NOT NULL,
    instance_id     TEXT,
    admin_state     TEXT,
    weight          INTEGER,
    metadata        TEXT,
    sequence        INTEGER NOT NULL,
    deleted         TEXT
);

-- Holds tombstones only, so that a registration never touches it.
CREATE INDEX IF NOT EXISTS idx_governance_pods_deleted
    ON governance_pods (deleted) WHERE deleted IS NOT NULL;

-- One row: who writes. `expires_at` is set when the right was given back.
CREATE TABLE IF NOT EXISTS governance_lease (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    registry_id TEXT NOT NULL,
    owner       TEXT NOT NULL,
    address     TEXT NOT NULL,
    epoch       INTEGER NOT NULL,
    sequence    INTEGER NOT NULL,
    acquired_at TEXT NOT NULL,
    expires_at  TEXT
);

-- What was done; ids grow with time.
CREATE TABLE IF NOT EXISTS governance_audit (
    id              INTEGER PRIMARY KEY,
    at              TEXT NOT NULL,
    action          TEXT NOT NULL,
    result          TEXT NOT NULL,
    service_name    TEXT,
    pod_name        TEXT,
    details         TEXT NOT NULL,
    previous_status TEXT,
    new_status      TEXT,
    request_id      TEXT,
    remote          TEXT
);
